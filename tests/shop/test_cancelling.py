"""Cancelling by the buyer and the merchant: the first wins and keeps the reason."""

from functools import partial

import pytest
from django.contrib.auth.models import User

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders.gateway import Attempt, Ruling, Verdict
from lapse.orders.port import Outcome
from lapse.orders.retries import Retries
from shop.catalogue.models import Product
from shop.lapsing import ShopOrders
from shop.orders.events import Subject
from shop.orders.models import Order, Reason, Status
from shop.orders.refusals import AlreadyPaid
from shop.orders.transitions import cancel
from shop.payments.development import DevelopmentGateway, pay_now
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import assert_no_drift, make_overdue, order_of, stock_of, together


def test_cancelling_gives_the_stock_back_once(buyer: User, cup: Product) -> None:
    """The buyer cancels, then the merchant: the first reason stays, the stock comes back once."""
    order = order_of(buyer, cup, 2)
    cancel(order.pk, reason=Reason.BUYER, who="buyer")
    again = cancel(order.pk, reason=Reason.MERCHANT, who="merchant")
    assert (again.status, again.cancel_reason) == (Status.CANCELLED, Reason.BUYER)
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_a_paid_order_is_not_cancelled(buyer: User, cup: Product) -> None:
    """Cancelling a paid order is refused."""
    order = order_of(buyer, cup)
    assert pay_now(payment_link(order.pk).strip("/").rsplit("/", 1)[-1])
    with pytest.raises(AlreadyPaid):
        cancel(order.pk, reason=Reason.BUYER, who="buyer")
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_buyer_merchant_and_timer_at_once(buyer: User, cup: Product) -> None:
    """Three cancel at the same moment: one effect, one reason, no error."""
    for number in range(6):
        order = order_of(buyer, cup)
        if number % 2:
            payment_link(order.pk)
        make_overdue(order)
        results = together(
            partial(cancel, order.pk, reason=Reason.BUYER, who="buyer"),
            partial(cancel, order.pk, reason=Reason.MERCHANT, who="merchant"),
            partial(unpaid_orders().lapse, [order.public_id]),
        )
        assert not [result for result in results if isinstance(result, Exception)], results
        order.refresh_from_db()
        assert order.status == Status.CANCELLED
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_an_open_attempt_is_closed_first(buyer: User, cup: Product) -> None:
    """Cancelling closes the link, so no buyer can pay for a cancelled order."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    assert cancel(order.pk, reason=Reason.BUYER, who="buyer").status == Status.CANCELLED
    assert PaymentAttempt.objects.get().state == State.CLOSED
    assert_no_drift()


def test_a_gateway_without_an_answer_leaves_it_closing(
    buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the gateway cannot be asked, the order stays closing and held; its timer finishes it with the first reason."""
    monkeypatch.setattr(Retries, "add", lambda *_: None)  # as if the buyer's process ended here
    order = order_of(buyer, cup)
    payment_link(order.pk)

    def away(_gateway: DevelopmentGateway, _attempt: Attempt) -> Ruling:
        raise ConnectionError("the gateway is away")

    with monkeypatch.context() as patched:
        patched.setattr(DevelopmentGateway, "close", away)
        assert cancel(order.pk, reason=Reason.BUYER, who="buyer").status == Status.CLOSING
    assert stock_of(cup) == (10, 1)
    make_overdue(order)
    worker = ShopOrders()  # of another process
    assert worker.lapse([order.public_id])[order.public_id].outcome == Outcome.LAPSED
    order.refresh_from_db()
    assert (order.status, order.cancel_reason) == (Status.CANCELLED, Reason.BUYER)
    changes = order.audit_trail.filter(subject=Subject.ORDER)
    assert list(changes.values_list("what", "reason", "actor", "before", "after"))[1:] == [
        ("closing", "buyer", "buyer", "awaiting_payment", "closing"),
        ("cancelled", "buyer", "timer", "closing", "cancelled"),
    ]
    assert_no_drift()


def test_money_found_while_cancelling_wins(buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the gateway says that it was paid, the order is paid, and who cancels gets AlreadyPaid."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    monkeypatch.setattr(DevelopmentGateway, "close", lambda _self, attempt: Ruling(attempt, Verdict.PAID))
    with pytest.raises(AlreadyPaid):
        cancel(order.pk, reason=Reason.BUYER, who="buyer")
    assert Order.objects.get().status == Status.PAID
    assert stock_of(cup) == (9, 0)
    assert_no_drift()
