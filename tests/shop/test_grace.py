"""The shop's grace: after the announced deadline a payment under way still counts, and the order keeps its stock."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape

from lapse.integrations.django import unpaid_orders
from lapse.orders import Outcome, Settled
from shop.catalogue.models import Product
from shop.console.health import health
from shop.lapsing import ShopOrders
from shop.orders.models import Order
from shop.orders.reading import fresh
from shop.orders.refusals import SoldOut, TooLate
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import api_of, assert_no_drift, make_overdue, order_of, report_paid

GRACE = timedelta(minutes=10)


@pytest.fixture(autouse=True)
def grace(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep an unpaid order for some minutes after its deadline, and look for drift at the end."""
    del transactional_db
    monkeypatch.setattr(ShopOrders, "grace", GRACE)
    yield
    assert_no_drift()


def test_within_the_grace_the_order_keeps_its_stock_and_the_page_says_what_is_so(
    buyer: User, rival: User, pot: Product
) -> None:
    """A sale does not get the only pot, no new payment begins, and the console has no alarm."""
    order = order_of(buyer, pot)
    make_overdue(order)
    with pytest.raises(SoldOut):
        order_of(rival, pot)
    with pytest.raises(TooLate):
        payment_link(order.pk)
    assert (fresh(order.pk).in_grace, fresh(order.pk).payable, health().late.count) == (True, False, 0)
    found = api_of(buyer)("GET", f"/orders/{order.public_id}").json()
    assert (found["status"], found["payable"]) == ("closing", False)
    client = Client()
    client.force_login(buyer)
    for language, said in (
        ("en", ("The time to pay is over", "A payment under way still counts.", "Everything is still held")),
        ("zh-hans", ("付款时间已过", "正在进行的付款仍然有效。", "商品仍为您保留片刻")),
    ):
        page = client.get(f"/orders/{order.public_id}/", headers={"accept-language": language}).content.decode()
        assert [text for text in said if escape(text) not in page] == []
        assert "data-pay>" not in page


def test_a_payment_under_way_pays_within_the_grace(buyer: User, pot: Product) -> None:
    """The link was opened in time, and the gateway's message comes after the announced deadline."""
    order = order_of(buyer, pot)
    payment_link(order.pk)
    make_overdue(order)
    assert unpaid_orders().lapse([order.public_id])[order.public_id].outcome is Outcome.NOT_DUE
    assert report_paid(PaymentAttempt.objects.get().reference) is Settled.PAID
    assert Order.objects.get().status == "paid"


def test_after_the_grace_the_order_lapses_and_a_sale_gets_its_stock(buyer: User, rival: User, pot: Product) -> None:
    """By the sale itself, without a worker."""
    order = order_of(buyer, pot)
    Order.objects.filter(pk=order.pk).update(pay_by=order.pay_by - timedelta(hours=1))
    assert health().late.count == 1
    assert order_of(rival, pot).pk
    assert Order.objects.get(pk=order.pk).cancel_reason == "expired"
