"""Paying: links, the development gateway, and money that comes late or twice."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import Attempt, Settled
from lapse.testing.gateway_conformance import Fault, GatewayConformance, Provider
from shop.catalogue.models import Product
from shop.orders.models import Hold, Order, Reason, Reservation, Status
from shop.orders.refusals import AlreadyCancelled, AlreadyPaid, TooLate
from shop.orders.transitions import cancel
from shop.payments.development import DevelopmentGateway, pay_now
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import (
    assert_no_drift,
    make_overdue,
    order_of,
    reconcile,
    report_paid,
    stock_of,
    together,
    trail_of,
)


def number_of(order: Order) -> str:
    """Make a payment link and return its attempt's number."""
    return payment_link(order.pk).strip("/").rsplit("/", 1)[-1]


class DevelopmentProvider(Provider):
    """The development gateway keeps its attempts in the shop's own table, so no call can fail on its way."""

    gateway = DevelopmentGateway()
    bound = timedelta(seconds=20)
    faults = frozenset()
    refunds = False

    def __init__(self, buyer: User, cup: Product) -> None:
        self._buyer = buyer
        self._cup = cup
        self.amount = cup.price

    def begin(self) -> Attempt:
        """Order a cup and ask for its payment link."""
        order = order_of(self._buyer, self._cup)
        payment_link(order.pk)
        (attempt,) = unpaid_orders().open_attempts([order])
        return attempt

    def open(self, attempt: Attempt) -> None:
        """Opening the page changes nothing."""

    def pay(self, attempt: Attempt) -> bool:
        """Press the button."""
        return pay_now(attempt.reference)

    def expire(self, attempt: Attempt) -> Attempt:
        """Move the order's deadline and the link's end into the past."""
        order = Order.objects.get(public_id=attempt.order_key)
        make_overdue(order)
        PaymentAttempt.objects.filter(order=order).update(expires_at=order.placed_at - timedelta(hours=1))
        return replace(attempt, expires_in=-timedelta(hours=1))

    def fail(self, fault: Fault) -> None:
        """No fault can be switched on."""
        raise NotImplementedError(fault)

    def recover(self) -> None:
        """There is no fault."""


class TestDevelopmentGateway(GatewayConformance):
    """The development gateway passes the gateway suite."""

    @pytest.fixture
    def provider(self, buyer: User, cup: Product) -> Provider:
        """Return the shop itself, in which a buyer orders cups."""
        return DevelopmentProvider(buyer, cup)


def test_paying_sells_the_stock(buyer: User, cup: Product) -> None:
    """A payment makes the order paid, takes its pieces out of the shop, and is in trail and figures."""
    order = order_of(buyer, cup, 3)
    number = number_of(order)
    assert PaymentAttempt.objects.get().state == State.PENDING
    assert pay_now(number)
    order.refresh_from_db()
    assert order.status == Status.PAID
    assert order.paid_at is not None
    assert stock_of(cup) == (7, 0)
    assert PaymentAttempt.objects.get().state == State.SUCCEEDED
    assert trail_of(order) == ["placed", "opened", "paid"]
    assert_no_drift()


def test_an_open_link_is_used_again(buyer: User, cup: Product) -> None:
    """Asking for the link again gives the same attempt, also at the same moment; the deadline does not move."""
    order = order_of(buyer, cup)
    links = together(*[lambda: payment_link(order.pk)] * 4)
    assert len(set(links)) == 1, links
    deadline = order.pay_by
    order.refresh_from_db()
    assert order.pay_by == deadline


def test_no_link_for_what_is_over(buyer: User, cup: Product) -> None:
    """A paid, a cancelled and an overdue order get no link; the overdue one lapses by asking."""
    paid, cancelled, overdue, closing = (order_of(buyer, cup) for _ in range(4))
    pay_now(number_of(paid))
    cancel(cancelled.pk, reason=Reason.BUYER, who="test")
    make_overdue(overdue)
    Order.objects.filter(pk=closing.pk).update(status=Status.CLOSING)
    with pytest.raises(AlreadyPaid):
        payment_link(paid.pk)
    with pytest.raises(AlreadyCancelled):
        payment_link(cancelled.pk)
    with pytest.raises(AlreadyCancelled):
        payment_link(overdue.pk)
    with pytest.raises(TooLate):
        payment_link(closing.pk)


def test_paying_twice_pays_once(buyer: User, cup: Product) -> None:
    """The button pressed many times at once takes the money once."""
    number = number_of(order_of(buyer, cup))
    assert sum(together(*[lambda: pay_now(number)] * 5)) == 1
    assert report_paid(number) is Settled.KNOWN
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_no_money_is_taken_for_a_cancelled_order(buyer: User, cup: Product) -> None:
    """The development gateway asks first: pressed after the order was cancelled, its button takes nothing."""
    order = order_of(buyer, cup)
    number = number_of(order)
    cancel(order.pk, reason=Reason.BUYER, who="test")
    assert not pay_now(number)
    assert PaymentAttempt.objects.get().state == State.CLOSED
    assert stock_of(cup) == (10, 0)


def test_late_money_is_never_swallowed(buyer: User, cup: Product, caplog: pytest.LogCaptureFixture) -> None:
    """Money for an order that its buyer has cancelled is refunded: in the trail and in the log, once each."""
    order = order_of(buyer, cup)
    number = number_of(order)
    cancel(order.pk, reason=Reason.BUYER, who="test")
    with caplog.at_level(logging.WARNING, "lapse"):
        assert report_paid(number) is Settled.REFUND_DUE
        assert report_paid(number) is Settled.KNOWN
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    attempt = PaymentAttempt.objects.get()
    assert (attempt.state, attempt.paid) == (State.REFUND_DUE, order.total)
    assert reconcile()[Settled.REFUNDED] == 1
    assert reconcile() == {}
    attempt.refresh_from_db()
    assert (attempt.state, attempt.refunded) == (State.REFUNDED, order.total)
    order.refresh_from_db()
    assert order.status == Status.CANCELLED
    assert stock_of(cup) == (10, 0)
    assert Reservation.objects.get().state == Hold.RELEASED
    trail = trail_of(order)
    assert trail[-2:] == ["refund due: 58.00", "refunded: 58.00"]
    assert_no_drift()
