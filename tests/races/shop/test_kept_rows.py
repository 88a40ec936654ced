"""What money that comes late needs: the rows of its order and its attempt."""

import pytest
from django.contrib.auth.models import User
from django.db.models import ProtectedError

from shop.catalogue.models import Product
from shop.orders.models import Order
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import order_of


@pytest.mark.usefixtures("shop")
def test_r27_an_order_with_an_attempt_is_not_deleted(buyer: User, cup: Product) -> None:
    """A job that removes old orders leaves those for which money may still come. Others can be removed."""
    order, unpaid = order_of(buyer, cup), order_of(buyer, cup)
    payment_link(order.pk)
    with pytest.raises(ProtectedError):
        Order.objects.all().delete()
    unpaid.delete()
    assert PaymentAttempt.objects.get().order == order
