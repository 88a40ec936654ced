"""Lapsing in the shop: effects once, against payments, in bulk, through closing."""

import threading
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import OrderBatch, Outcome, Result
from lapse.orders.gateway import Attempt, Ruling, Verdict
from shop.catalogue.models import Product
from shop.lapsing import ShopOrders
from shop.orders.models import Order, Status
from shop.payments.development import DevelopmentGateway, pay_now
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.gateways.listening import eventually
from tests.shop.rehearsal import assert_no_drift, make_overdue, order_of, report_paid, stock_of, together, trail_of


def lapse(order: Order) -> Outcome:
    """Lapse one order and return its outcome."""
    return unpaid_orders().lapse([order.public_id])[order.public_id].outcome


def number_of(order: Order) -> str:
    """Make a payment link and return its attempt's number."""
    return payment_link(order.pk).strip("/").rsplit("/", 1)[-1]


def test_it_lapses_when_due_and_only_then(buyer: User, cup: Product) -> None:
    """Before its deadline nothing happens; after it the order is cancelled, its stock is back, once."""
    order = order_of(buyer, cup, 4)
    assert lapse(order) == Outcome.NOT_DUE
    make_overdue(order)
    assert [lapse(order), lapse(order)] == [Outcome.LAPSED, Outcome.NOT_UNPAID]
    order.refresh_from_db()
    assert (order.status, order.cancel_reason) == (Status.CANCELLED, "expired")
    assert stock_of(cup) == (10, 0)
    assert trail_of(order) == ["placed", "cancelled: expired"]
    assert_no_drift()


def test_five_hundred_orders_by_a_handful_of_statements(
    buyer: User, cup: Product, pot: Product, shop: Settings
) -> None:
    """A batch of 500 orders lapses in a number of statements that does not depend on how many they are."""
    shop.LAPSE_OPEN_ORDERS = 1000
    Product.objects.update(on_hand=1000)
    orders = [order_of(buyer, cup if number % 2 else pot) for number in range(500)]
    make_overdue(*orders)
    with CaptureQueriesContext(connection) as queries:
        results = unpaid_orders().lapse([order.public_id for order in orders])
    assert {result.outcome for result in results.values()} == {Outcome.LAPSED}
    assert len(queries) <= 15, [query["sql"][:80] for query in queries]
    assert stock_of(cup) == (1000, 0)
    assert_no_drift()


def test_many_workers_on_the_same_orders(buyer: User, cup: Product) -> None:
    """Workers that get the same orders at the same moment cancel each of them once."""
    orders = [order_of(buyer, cup) for _ in range(10)]
    make_overdue(*orders)
    keys = [order.public_id for order in orders]
    answers = together(*[lambda: unpaid_orders().lapse(keys)] * 4)
    lapsed = [key for answer in answers for key, result in answer.items() if result.outcome == Outcome.LAPSED]
    assert sorted(lapsed) == sorted(keys)
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_a_payment_under_way_wins(buyer: User, cup: Product) -> None:
    """A payment that has the row when the deadline fires is not cancelled: the lapse does not even wait for it."""
    order = order_of(buyer, cup)
    number = number_of(order)
    make_overdue(order)
    inside, go_on = threading.Event(), threading.Event()

    def pay_slowly() -> None:
        with transaction.atomic():
            report_paid(number)
            inside.set()
            assert go_on.wait(30)

    def lapse_meanwhile() -> list[Outcome]:
        assert inside.wait(30)
        try:
            return [lapse(order)]
        finally:
            go_on.set()

    assert together(pay_slowly, lapse_meanwhile) == [None, [Outcome.LOCKED]]
    assert lapse(order) == Outcome.NOT_UNPAID
    order.refresh_from_db()
    assert order.status == Status.PAID
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_a_lapse_under_way_wins(buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payment that comes while the lapse has the row waits for it, then takes no money."""
    order = order_of(buyer, cup)
    number = number_of(order)
    make_overdue(order)
    inside, orders = threading.Event(), unpaid_orders()
    genuine = orders.on_lapse

    def slow(lapsed: OrderBatch[Order]) -> None:
        inside.set()
        # Long enough for the payment to run into the lock; the outcome does not depend on it.
        threading.Event().wait(0.3)
        genuine(lapsed)

    def pay() -> bool:
        assert inside.wait(30)
        return pay_now(number)

    monkeypatch.setattr(orders, "on_lapse", slow)
    assert together(lambda: lapse(order), pay) == [Outcome.LAPSED, False]
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_pay_and_lapse_at_the_same_moment_have_one_winner(buyer: User, cup: Product) -> None:
    """The first of the two wins, and the other changes nothing."""
    for _ in range(10):
        order = order_of(buyer, cup)
        number = number_of(order)
        make_overdue(order)
        paid, outcome = together(partial(pay_now, number), partial(lapse, order))
        lapse(order)
        order.refresh_from_db()
        assert order.status == (Status.PAID if paid else Status.CANCELLED), (paid, outcome)
        assert_no_drift()


def test_money_that_comes_while_closing_wins(buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paid after the order began to close: the gateway says so, and the order is paid, not cancelled."""
    order = order_of(buyer, cup)
    number = number_of(order)
    make_overdue(order)
    genuine = DevelopmentGateway.close

    def pay_first(gateway: DevelopmentGateway, attempt: Attempt) -> Ruling:
        order.refresh_from_db()
        assert order.status == Status.CLOSING
        assert pay_now(number)
        return genuine(gateway, attempt)

    monkeypatch.setattr(DevelopmentGateway, "close", pay_first)
    assert lapse(order) == Outcome.NOT_UNPAID
    order.refresh_from_db()
    assert (order.status, order.cancel_reason) == (Status.PAID, "")
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_money_only_the_gateway_knows_of_settles_the_order(
    buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the gateway's call was lost and it says PAID when asked to close, the order is settled then."""
    order = order_of(buyer, cup)
    number_of(order)
    make_overdue(order)
    monkeypatch.setattr(DevelopmentGateway, "close", lambda _self, attempt: Ruling(attempt, Verdict.PAID))
    assert lapse(order) == Outcome.PAID
    assert PaymentAttempt.objects.get().state == State.SUCCEEDED
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_money_that_the_gateway_reports_deadlocks_with_no_sale(buyer: User, cup: Product, pot: Product) -> None:
    """Two orders found paid at once: neither keeps its products locked while the other waits for its own."""
    first, second = order_of(buyer, pot), order_of(buyer, cup)  # the pot's id is the higher one
    rulings = [Ruling(Attempt(one.public_id, number_of(one), "development"), Verdict.PAID) for one in (first, second)]
    make_overdue(first, second)

    def sell_both() -> None:
        """Lock the cup and then the pot, as every sale does, and let the other come in between."""
        with transaction.atomic():
            Product.objects.select_for_update().get(pk=cup.pk)
            locked.set()
            eventually(lambda: waiting_for_locks() > 0)
            Product.objects.select_for_update().get(pk=pot.pk)

    def finish() -> Mapping[str, Result]:
        assert locked.wait(30)
        return unpaid_orders().port().finish(rulings)

    locked = threading.Event()
    sold, results = together(sell_both, finish)
    assert sold is None, sold
    assert {result.outcome for result in results.values()} == {Outcome.PAID}
    assert (stock_of(cup), stock_of(pot)) == ((9, 0), (0, 0))
    assert_no_drift()


def waiting_for_locks() -> int:
    """Return how many connections of this database wait for another's lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees the same all the time
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        count: int = cursor.fetchone()[0]
    return count


def test_a_gateway_without_an_answer_keeps_the_hold(buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unanswered question is not a no: the stock stays held, and the next firing finishes the order."""
    order = order_of(buyer, cup)
    number_of(order)
    make_overdue(order)

    def away(_gateway: DevelopmentGateway, _attempt: Attempt) -> Ruling:
        raise ConnectionError("the gateway is away")

    with monkeypatch.context() as patched:
        patched.setattr(DevelopmentGateway, "close", away)
        assert lapse(order) == Outcome.UNANSWERED
    assert PaymentAttempt.objects.get().state == State.UNKNOWN
    assert stock_of(cup) == (10, 1)
    assert lapse(order) == Outcome.UNANSWERED  # this process waits for a moment before it asks again
    another_process = ShopOrders()
    assert another_process.lapse([order.public_id])[order.public_id].outcome == Outcome.LAPSED
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_an_extended_deadline_is_obeyed(buyer: User, cup: Product) -> None:
    """The stored deadline decides: moved into the future, a firing changes nothing and says when to come again."""
    order = order_of(buyer, cup)
    later = order.pay_by + timedelta(hours=1)
    Order.objects.filter(pk=order.pk).update(pay_by=later)
    result: Result = unpaid_orders().lapse([order.public_id])[order.public_id]
    assert (result.outcome, result.due_at) == (Outcome.NOT_DUE, later)


def test_m8_an_order_that_is_extended_while_it_fires_can_be_paid(
    buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway is called while the merchant gives more time: the order waits for its payment, and has a new link."""
    order = order_of(buyer, cup)
    first = number_of(order)
    make_overdue(order)
    later = order.pay_by + timedelta(hours=1)
    close = DevelopmentGateway.close

    def extend_meanwhile(gateway: DevelopmentGateway, attempt: Attempt) -> Ruling:
        Order.objects.filter(pk=order.pk).update(pay_by=later)
        return close(gateway, attempt)

    monkeypatch.setattr(DevelopmentGateway, "close", extend_meanwhile)
    assert lapse(order) == Outcome.NOT_DUE
    order.refresh_from_db()
    assert (order.status, order.cancel_reason) == (Status.AWAITING_PAYMENT, "")
    assert order.audit_trail.filter(what="reopened", reason="more_time", actor="timer").count() == 1
    second = number_of(order)
    assert second != first
    assert pay_now(second)
    assert stock_of(cup) == (9, 0)
    assert_no_drift()
