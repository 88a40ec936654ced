"""A person's cancel: the same three steps, whether due or not; the first reason is kept, also over a crash."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from lapse import Timer
from lapse.integrations.django import OpenTransaction
from lapse.orders import EXPIRED, TIMER, Attempt, ClosingGateway, OrderBatch, Outcome, Ruling, Verdict
from lapse.orders.retries import Retries
from tests.django.adopter.lapsing import AdopterOrders, pay
from tests.django.adopter.models import Order, PayAttempt
from tests.django.adopter.placing import NOT_YET, begin_to_pay, place, status, stock
from tests.django.adopter.threads import PATIENCE, a_row_is_waited_for, in_thread, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Till:
    """A gateway that says what a test sets, and CLOSED otherwise; `meanwhile` is called while it is asked."""

    def __init__(self) -> None:
        self.verdict = Verdict.CLOSED
        self.meanwhile: Callable[[], object] = lambda: None

    def close(self, attempt: Attempt) -> Ruling:
        """Return the verdict."""
        self.meanwhile()
        return Ruling(attempt, self.verdict)


class Shop(AdopterOrders):
    """Orders that are paid at the till. It notes what its hooks get; `closing` is a function."""

    gateways: ClassVar[dict[str, ClosingGateway]] = {"till": Till()}

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str, str, int]] = []
        self.watch = lambda orders: self.calls.append(("lapse", orders.reason, orders.actor, len(orders)))

    def closing(self, reason: str, actor: str) -> dict[str, object]:  # type: ignore[override] # the base has a dict
        """Return what is written while attempts are being closed."""
        assert reason
        assert actor
        return {"status": "closing"}

    def on_closing(self, orders: OrderBatch[Order]) -> None:
        """Note the call."""
        self.calls.append(("closing", orders.reason, orders.actor, len(orders)))


@pytest.fixture
def till(monkeypatch: pytest.MonkeyPatch) -> Till:
    """Open a new till for the shop."""
    opened = Till()
    monkeypatch.setattr(Shop, "gateways", {"till": opened})
    return opened


def reason(order: Order) -> str:
    """Return the reason as it is stored."""
    return Order.objects.values_list("reason", flat=True).get(pk=order.pk)


def cancel(shop: AdopterOrders, *orders: Order, by: str = "buyer 7", reason: str = "buyer") -> list[Outcome]:
    """Cancel the orders and list what became of each."""
    results = shop.cancel(orders, by=by, reason=reason)
    return [results[str(order.pk)].outcome for order in orders]


@pytest.mark.usefixtures("till")
def test_orders_are_cancelled_before_their_deadline() -> None:
    """With and without an open attempt, in one call; the stock comes back once and the hooks know who and why."""
    shop = Shop()
    free, trying = place(2, due=NOT_YET)
    begin_to_pay(trying)
    assert cancel(shop, free, trying) == [Outcome.LAPSED, Outcome.LAPSED]
    assert cancel(shop, free, trying, reason="merchant") == [Outcome.NOT_UNPAID, Outcome.NOT_UNPAID]
    assert [(status(one), reason(one)) for one in (free, trying)] == [("cancelled", "buyer")] * 2
    assert stock(free) == 2
    assert shop.calls == [
        ("closing", "buyer", "buyer 7", 1),
        ("lapse", "buyer", "buyer 7", 1),
        ("lapse", "buyer", "buyer 7", 1),
    ]


def test_more_orders_than_a_batch_are_cancelled_in_several_transactions() -> None:
    """A query set is as good as a list."""
    shop = Shop()
    (first, *_) = place(501, due=NOT_YET)
    results = shop.cancel(Order.objects.all(), by="merchant 1", reason="merchant")
    assert {result.outcome for result in results.values()} == {Outcome.LAPSED}
    assert [call[3] for call in shop.calls] == [500, 1]
    assert stock(first) == 501


def test_a_person_waits_for_a_row_and_finds_it_paid() -> None:
    """The timer skips a locked row; a person's cancel waits, and finds what the other transaction made of it."""
    (order,) = place()
    paid, done = threading.Event(), threading.Event()

    def pay_slowly() -> None:
        with transaction.atomic():
            assert pay(order.pk)
            paid.set()
            assert done.wait(PATIENCE)

    payment = in_thread(pay_slowly)
    assert paid.wait(PATIENCE)
    cancelling = in_thread(lambda: cancel(Shop(), order))
    wait_until(a_row_is_waited_for)
    assert Shop().lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LOCKED
    assert not cancelling.done()
    done.set()
    payment.result(PATIENCE)
    assert cancelling.result(PATIENCE) == [Outcome.NOT_UNPAID]
    assert (status(order), stock(order), reason(order)) == ("paid", 0, "")


def test_a_person_waits_for_a_row_and_cancels_it_afterwards() -> None:
    """Where the other transaction leaves the order unpaid, the one call is enough."""
    (order,) = place(due=NOT_YET)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Order.objects.select_for_update().get(pk=order.pk)
            locked.set()
            assert done.wait(PATIENCE)

    holder = in_thread(hold)
    assert locked.wait(PATIENCE)
    cancelling = in_thread(lambda: cancel(Shop(), order))
    wait_until(a_row_is_waited_for)
    done.set()
    holder.result(PATIENCE)
    assert cancelling.result(PATIENCE) == [Outcome.LAPSED]


def test_two_that_cancel_at_once_have_one_effect(till: Till) -> None:
    """Both ask the gateway; the one that comes first cancels, and its reason stays."""
    (order,) = place(due=NOT_YET)
    begin_to_pay(order)
    both = threading.Barrier(2)
    till.meanwhile = lambda: both.wait(PATIENCE)
    shops = Shop(), Shop()
    futures = [
        in_thread(lambda: cancel(shops[0], order, by="buyer 7", reason="buyer")),
        in_thread(lambda: cancel(shops[1], order, by="clerk 2", reason="merchant")),
    ]
    outcomes = [outcome for future in futures for outcome in future.result(PATIENCE)]
    assert sorted(outcomes) == [Outcome.LAPSED, Outcome.NOT_UNPAID]
    assert stock(order) == 1
    calls = shops[0].calls + shops[1].calls
    assert [call[0] for call in calls].count("closing") == 1
    assert {call[1] for call in calls} == {reason(order)}


@pytest.mark.usefixtures("till")
@pytest.mark.parametrize("due", [NOT_YET, timedelta(minutes=-1)])
def test_buyer_merchant_timer_and_payer_at_once(due: timedelta) -> None:
    """Ten times: the order is paid or cancelled, once, with one reason, and the stock agrees."""
    for number in range(10):
        (order,) = place(due=due)
        if number % 2:
            begin_to_pay(order)
        race_for(order)


def race_for(order: Order) -> None:
    """Let two persons, the timer and a payer reach for the order at the same moment."""
    start = threading.Barrier(4)
    shop, key = Shop(), str(order.pk)

    def at_once(work: Callable[[], object]) -> object:
        start.wait(PATIENCE)
        return work()

    futures = [
        in_thread(lambda: at_once(lambda: cancel(shop, order, by="buyer 7", reason="buyer"))),
        in_thread(lambda: at_once(lambda: cancel(shop, order, by="clerk 2", reason="merchant"))),
        in_thread(lambda: at_once(lambda: [shop.lapse([key])[key].outcome])),
        in_thread(lambda: at_once(lambda: pay(order.pk))),
    ]
    *outcomes, paid = (future.result(PATIENCE) for future in futures)
    lapsed = outcomes.count([Outcome.LAPSED])
    assert lapsed + bool(paid) == 1, (outcomes, paid)
    assert (status(order), stock(order)) == (("paid", 0) if paid else ("cancelled", 1))
    assert (reason(order) == "") is bool(paid)
    assert [call[0] for call in shop.calls].count("lapse") == lapsed


def test_money_that_the_gateway_finds_wins_over_a_person(till: Till) -> None:
    """The order is paid, and its reason to cancel is gone."""
    (order,) = place(due=NOT_YET)
    begin_to_pay(order)
    till.verdict = Verdict.PAID
    assert cancel(Shop(), order) == [Outcome.PAID]
    assert (status(order), stock(order), reason(order)) == ("paid", 0, "")


def test_a_silent_gateway_leaves_it_closing_and_the_timer_keeps_the_reason(
    till: Till, memory: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline stays armed; when it comes, the timer cancels for the buyer, whose process has ended."""
    monkeypatch.setattr(Retries, "add", lambda *_: None)
    shop = Shop()
    (order,) = place(due=NOT_YET)
    shop.arm(order)
    begin_to_pay(order)
    till.verdict = Verdict.UNKNOWN
    assert cancel(shop, order) == [Outcome.UNANSWERED]
    assert cancel(shop, order, by="clerk 2", reason="merchant") == [Outcome.UNANSWERED]
    assert (status(order), stock(order), reason(order), memory.stats().pending) == ("closing", 0, "buyer", 1)
    till.verdict = Verdict.CLOSED
    worker = Shop()  # of another process, which does not know that the gateway was silent a moment ago
    assert worker.lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.NOT_DUE
    Order.objects.update(pay_by="2020-01-01T00:00Z")
    assert worker.lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED
    assert reason(order) == "buyer"
    assert shop.calls == [("closing", "buyer", "buyer 7", 1)]
    assert worker.calls == [("lapse", "buyer", TIMER, 1)]


class TimedShop(Shop):
    """Orders that keep the moment at which they began to close, by the database's clock."""

    def closing(self, reason: str, actor: str) -> dict[str, object]:  # type: ignore[override] # the base has a dict
        """Return the state and an expression."""
        return {**super().closing(reason, actor), "cancelled_at": Now()}


def test_an_order_begins_to_close_once_also_where_the_moment_is_kept(till: Till) -> None:
    """A row that is closing already is not written again for the sake of an expression, nor is the hook called."""
    shop = TimedShop()
    (order,) = place(due=NOT_YET)
    begin_to_pay(order)
    till.verdict = Verdict.UNKNOWN
    assert cancel(shop, order) == [Outcome.UNANSWERED]
    order.refresh_from_db()
    begun = order.cancelled_at
    assert begun is not None
    assert cancel(shop, order) == [Outcome.UNANSWERED]
    order.refresh_from_db()
    assert order.cancelled_at == begun
    assert shop.calls == [("closing", "buyer", "buyer 7", 1)]


CRASH = """
import os, django
django.setup()
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Order

class Till:
    def close(self, attempt):
        os._exit(9)  # the process dies between step one and step three

class Shop(AdopterOrders):
    gateways = {"till": Till()}

Shop().cancel(Order.objects.all(), by="buyer 7", reason="buyer")
"""


def test_the_reason_outlives_the_death_of_the_process_that_began(till: Till) -> None:
    """Killed while the gateway is asked: the order is closing with the buyer's reason, and the timer finishes it so."""
    assert till.verdict is Verdict.CLOSED
    (order,) = place()
    begin_to_pay(order)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.django.adopter.settings",
        "LAPSE_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "LAPSE_TEST_TIMER": "none",
    }
    root = Path(__file__).parents[2]
    died = subprocess.run([sys.executable, "-c", CRASH], env=environment, cwd=root, check=False, timeout=PATIENCE)
    assert died.returncode == 9
    assert (status(order), reason(order), stock(order)) == ("closing", "buyer", 0)
    shop = Shop()
    assert shop.lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED
    assert (status(order), reason(order), stock(order)) == ("cancelled", "buyer", 1)
    assert shop.calls == [("lapse", "buyer", TIMER, 1)]


def test_an_order_that_expires_has_the_timers_reason() -> None:
    """No person asked for it."""
    shop = Shop()
    (order,) = place()
    shop.lapse([str(order.pk)])
    assert shop.calls == [("lapse", EXPIRED, TIMER, 1)]
    assert reason(order) == EXPIRED


def test_it_is_disarmed_with_the_transaction_that_cancels(orders: AdopterOrders, memory: Timer) -> None:
    """While the hook runs the timer still knows it; after the commit it does not. Rolled back, it is armed still."""
    (order,) = place(due=NOT_YET)
    orders.arm(order)
    seen: list[int] = []

    def fail(_: Sequence[Order]) -> None:
        seen.append(memory.stats().pending)
        raise RuntimeError("no stock table")

    orders.watch = fail
    with pytest.raises(RuntimeError, match="no stock table"):
        cancel(orders, order)
    assert (memory.stats().pending, reason(order)) == (1, "")
    orders.watch = lambda _: seen.append(memory.stats().pending)
    assert cancel(orders, order) == [Outcome.LAPSED]
    assert (seen, memory.stats().pending) == ([1, 1], 0)


@pytest.mark.usefixtures("till")
def test_gateways_are_not_asked_inside_a_transaction(orders: AdopterOrders) -> None:
    """The error says so before anything is changed; without gateways a cancel may be part of a transaction."""
    (order,) = place(due=NOT_YET)
    with transaction.atomic(), pytest.raises(OpenTransaction, match="non_atomic_requests"):
        cancel(Shop(), order)
    assert status(order) == "awaiting"
    with transaction.atomic():
        assert cancel(orders, order) == [Outcome.LAPSED]
        transaction.set_rollback(True)
    assert (status(order), stock(order)) == ("awaiting", 0)


def test_what_is_no_order_is_refused(orders: AdopterOrders) -> None:
    """A key, another model's row, or no reason: an error that says what to pass, and nothing is cancelled."""
    (order,) = place(due=NOT_YET)
    for wrong in (str(order.pk), order.pk, PayAttempt()):
        with pytest.raises(TypeError, match="takes instances of Order"):
            orders.cancel([order, wrong], by="buyer 7", reason="buyer")  # type: ignore[list-item]
    for by, why in (("", "buyer"), ("buyer 7", "")):
        with pytest.raises(ValueError, match="who cancels, and why"):
            orders.cancel([order], by=by, reason=why)
    assert status(order) == "awaiting"


def test_m11_a_cancel_that_no_gateway_answered_is_tried_again_until_it_succeeds(till: Till) -> None:
    """At minute 0 the gateway has an error, once. The process itself tries again, with the buyer's reason and name."""
    shop = Shop()
    (order,) = place(due=NOT_YET)
    begin_to_pay(order)
    till.verdict = Verdict.UNKNOWN
    assert cancel(shop, order) == [Outcome.UNANSWERED]
    till.verdict = Verdict.CLOSED
    wait_until(lambda: status(order) == "cancelled")
    assert (stock(order), reason(order)) == (1, "buyer")
    assert shop.calls == [("closing", "buyer", "buyer 7", 1), ("lapse", "buyer", "buyer 7", 1)]


def test_m11_a_cancel_that_is_taken_back_meanwhile_is_not_repeated(till: Till) -> None:
    """The shop has opened the order again by its own code: it is not closing, so nothing cancels it."""
    shop = Shop()
    (order,) = place(due=NOT_YET)
    begin_to_pay(order)
    till.verdict = Verdict.UNKNOWN
    assert cancel(shop, order) == [Outcome.UNANSWERED]
    Order.objects.update(status="awaiting", reason="")
    till.verdict = Verdict.CLOSED
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "lapse-retries"])
    assert (status(order), stock(order)) == ("awaiting", 0)


def test_a_cancel_waits_for_gateways_once_and_not_per_order(till: Till) -> None:
    """The gateway hangs, and 30 orders wait for 16 threads: the call returns while the gateway still hangs."""
    orders = place(30, due=NOT_YET)
    for order in orders:
        begin_to_pay(order)
    go_on = threading.Event()
    till.meanwhile = lambda: go_on.wait(PATIENCE)
    shop = Shop()
    try:
        assert cancel(shop, *orders) == [Outcome.UNANSWERED] * 30
        assert not go_on.is_set()
    finally:
        go_on.set()
    wait_until(lambda: not Order.objects.exclude(status="cancelled").exists())
    assert stock(orders[0]) == 30
