"""The suite of `lapse.testing.orders` passes on this shop, paid by its gateway's notification or by its button."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now
from pytest_django import Settings

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import STILL_OPEN
from lapse.orders import LateMoney, Settled
from lapse.testing.orders import OrdersConformance, State
from shop.buyers.accounts import sign_up
from shop.catalogue.models import Product
from shop.lapsing import ShopOrders
from shop.orders.models import Order, Reason, Status
from shop.orders.refusals import AlreadyPaid, Refused
from shop.orders.transitions import cancel
from shop.payments.development import pay_now
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import PASSWORD, assert_no_drift, order_of, report_paid

NUMBERS = count()
"""Numbers of the buyers."""


class TestPaidByNotification(OrdersConformance[Order]):
    """Each order has an open attempt to pay, so that each lapse takes three steps."""

    rounds = 4

    @pytest.fixture(autouse=True)
    def _shop(self, cup: Product, shop: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Put enough cups on the shelf, and look for drift at the end.

        Late money is refunded here, because the suite expects a lapsed order to stay cancelled when money comes.
        """
        monkeypatch.setattr(ShopOrders, "late_money", LateMoney.REFUND)
        monkeypatch.setattr(ShopOrders, "remind", timedelta(minutes=5))
        shop.LAPSE_OPEN_ORDERS = 1000
        self.cup = cup
        Product.objects.update(on_hand=1000)
        yield
        assert_no_drift()

    def orders(self) -> ShopOrders:
        """Return the shop's own."""
        found = unpaid_orders()
        assert isinstance(found, ShopOrders)
        return found

    def transaction(self) -> transaction.Atomic:
        """Return a transaction."""
        return transaction.atomic()

    def close_connections(self) -> None:
        """Close what this thread has opened."""
        connections.close_all()

    def place(self) -> Order:
        """Order two cups as a new buyer: a buyer's overdue orders lapse when that buyer orders again. Begin to pay."""
        order = order_of(sign_up(f"{next(NUMBERS)}@example.com", PASSWORD), self.cup, 2)
        payment_link(order.pk)
        return order

    def set_deadline(self, order: Order, due_in: timedelta) -> None:
        """Write the deadline."""
        Order.objects.filter(pk=order.pk).update(pay_by=Now() + due_in)

    def pay(self, order: Order) -> bool:
        """Settle the money that has come."""
        return report_paid(self.number(order)) is Settled.PAID

    def cancel(self, order: Order) -> bool:
        """Cancel the order as its buyer."""
        try:
            cancel(order.pk, reason=Reason.BUYER, who="buyer")
        except AlreadyPaid:
            return False
        return True

    def number(self, order: Order) -> str:
        """Return the number of the order's latest attempt."""
        return PaymentAttempt.objects.filter(order=order).latest("pk").reference

    def state(self, order: Order) -> State:
        """Read the status."""
        states: dict[str, State] = {Status.PAID: "paid", Status.CANCELLED: "cancelled"}
        return states.get(Order.objects.get(pk=order.pk).status, "unpaid")

    def stock(self) -> int:
        """Return the pieces on hand that no order holds."""
        self.cup.refresh_from_db()
        return self.cup.on_hand - self.cup.held


@pytest.mark.long
class TestPaidByButton(TestPaidByNotification):
    """The development gateway, which asks whether the order can be paid before it takes the money."""

    def pay(self, order: Order) -> bool:
        """Press the button. A revived order has a closed attempt, so its buyer opens a new page first."""
        open_ones = PaymentAttempt.objects.filter(STILL_OPEN, order=order)
        if not transaction.get_connection().in_atomic_block and not open_ones.exists():
            with suppress(Refused):
                payment_link(order.pk)
        return pay_now(self.number(order))
