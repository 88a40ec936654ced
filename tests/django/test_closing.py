"""The three steps: open attempts are closed at the gateway before an order lapses."""

from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
import pytest
from django.db import connection

from lapse.orders.gateway import Attempt, ClosingGateway, Ruling, Verdict
from lapse.orders.port import Outcome
from tests.django.adopter.lapsing import AdopterOrders, pay
from tests.django.adopter.models import Order, PayAttempt
from tests.django.adopter.placing import begin_to_pay, place, status, stock

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db(transaction=True)


class Till:
    """A gateway: a test sets what it says of an attempt, by its number; every other attempt is closed."""

    def __init__(self) -> None:
        self.says: dict[str, Verdict | Exception] = {}
        self.asked: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def close(self, attempt: Attempt) -> Ruling:
        """Return the verdict that was set, or raise the error."""
        self.asked.append(attempt.reference)
        self.meanwhile()
        said = self.says.get(attempt.reference, Verdict.CLOSED)
        if isinstance(said, Exception):
            raise said
        return Ruling(attempt, said)


class Shop(AdopterOrders):
    """Orders that are paid at the till."""

    gateways: ClassVar[dict[str, ClosingGateway]] = {}


@pytest.fixture
def till(monkeypatch: pytest.MonkeyPatch) -> Till:
    """Open a new till for the shop."""
    opened = Till()
    monkeypatch.setattr(Shop, "gateways", {"till": opened})
    return opened


def outcome(order: Order, shop: AdopterOrders | None = None) -> Outcome:
    """Lapse the order and return what became of it."""
    return (shop or Shop()).lapse([str(order.pk)])[str(order.pk)].outcome


def test_an_attempt_is_closed_and_the_order_lapses(till: Till) -> None:
    """The order is closing while the till is asked, and cancelled afterwards."""
    (order,) = place()
    attempt = begin_to_pay(order)
    seen: list[str] = []
    till.meanwhile = lambda: seen.append(status(order))
    assert outcome(order) is Outcome.LAPSED
    assert (seen, till.asked) == (["closing"], [attempt.number])
    assert (status(order), stock(order)) == ("cancelled", 1)
    assert PayAttempt.objects.get().state == "closed"


def test_money_at_the_till_wins(till: Till) -> None:
    """The order becomes paid and keeps its stock."""
    (order,) = place()
    till.says[begin_to_pay(order).number] = Verdict.PAID
    assert outcome(order) is Outcome.PAID
    assert (status(order), stock(order)) == ("paid", 0)


@pytest.mark.parametrize("answer", [Verdict.UNKNOWN, TimeoutError("no answer")])
def test_no_answer_keeps_the_order_held(till: Till, answer: Verdict | Exception) -> None:
    """Neither closed nor paid may be concluded; it is overdue still, and lapses once the till can say."""
    (order,) = place()
    number = begin_to_pay(order).number
    till.says[number] = answer
    assert outcome(order) is Outcome.UNANSWERED
    assert (status(order), stock(order)) == ("closing", 0)
    assert [found.key for found in Shop().port().overdue(10)] == [str(order.pk)]
    del till.says[number]
    assert outcome(order) is Outcome.LAPSED
    assert (status(order), stock(order)) == ("cancelled", 1)


def test_one_attempt_without_an_answer_holds_the_order(till: Till) -> None:
    """Of two attempts both must be closed; of two orders one does not hold the other."""
    held, free = place(2)
    begin_to_pay(held)
    till.says[begin_to_pay(held).number] = Verdict.UNKNOWN
    begin_to_pay(free)
    results = Shop().lapse([str(held.pk), str(free.pk)])
    assert results[str(held.pk)].outcome is Outcome.UNANSWERED
    assert results[str(free.pk)].outcome is Outcome.LAPSED


def test_an_unknown_gateway_keeps_the_order_held(till: Till) -> None:
    """An attempt at a gateway that is not configured cannot be closed."""
    (order,) = place()
    begin_to_pay(order)
    assert till.asked == []
    assert outcome(order, AdopterOrders()) is Outcome.UNANSWERED


@pytest.mark.usefixtures("till")
def test_a_crash_while_closing_is_repeated() -> None:
    """After step one the process dies: the closing order is overdue still, and another process ends it."""
    (order,) = place()
    number = begin_to_pay(order).number
    begun = Shop().port().begin([str(order.pk)])
    assert [attempt.reference for attempt in begun.attempts] == [number]
    assert status(order) == "closing"
    assert [found.key for found in Shop().port().overdue(10)] == [str(order.pk)]
    assert outcome(order) is Outcome.LAPSED
    assert stock(order) == 1


def test_a_ruling_that_comes_twice_changes_nothing_twice(till: Till) -> None:
    """Two processes closed the same attempt: the second finds the order not unpaid."""
    (order,) = place()
    begin_to_pay(order)
    port = Shop().port()
    rulings = [till.close(attempt) for attempt in port.begin([str(order.pk)]).attempts]
    assert port.finish(rulings)[str(order.pk)].outcome is Outcome.LAPSED
    assert port.finish(rulings)[str(order.pk)].outcome is Outcome.NOT_UNPAID
    assert stock(order) == 1


def test_a_payment_that_commits_while_the_till_is_asked_wins(till: Till) -> None:
    """Step three finds the order paid and leaves it, for any verdict of the till."""
    (order,) = place()
    begin_to_pay(order)
    till.meanwhile = lambda: pay(order.pk)
    assert outcome(order) is Outcome.NOT_UNPAID
    assert (status(order), stock(order)) == ("paid", 0)


def test_an_attempt_that_is_opened_meanwhile_keeps_the_order(till: Till) -> None:
    """It is LOCKED, so it is tried again soon, and then the new attempt is closed as well."""
    (order,) = place()
    begin_to_pay(order)

    def once() -> None:
        till.meanwhile = lambda: None
        begin_to_pay(order)

    till.meanwhile = once
    assert outcome(order) is Outcome.LOCKED
    assert status(order) == "closing"
    assert outcome(order) is Outcome.LAPSED
    assert len(till.asked) == 2


def test_money_for_an_order_that_was_cancelled_meanwhile_reaches_the_hook(till: Till) -> None:
    """The hook gets the ruling although the order is no longer unpaid, so no money is swallowed."""
    (order,) = place()
    till.says[begin_to_pay(order).number] = Verdict.PAID
    till.meanwhile = lambda: Order.objects.update(status="cancelled")
    assert outcome(order) is Outcome.NOT_UNPAID
    assert PayAttempt.objects.get().state == "paid"


def test_orders_without_attempts_are_not_delayed(till: Till) -> None:
    """In one batch, those with nothing to close have lapsed before the till is asked."""
    slow, quick = place(2)
    begin_to_pay(slow)
    seen: list[str] = []
    till.meanwhile = lambda: seen.append(status(quick))
    results = Shop().lapse([str(slow.pk), str(quick.pk)])
    assert seen == ["cancelled"]
    assert {result.outcome for result in results.values()} == {Outcome.LAPSED}


def test_a_gateway_that_asks_the_database_leaves_no_connection_open(till: Till) -> None:
    """Several attempts are closed in threads, and each thread closes the connection that it opened."""
    orders = place(4)
    for order in orders:
        begin_to_pay(order)
    mine = PayAttempt.objects.count  # any query will do
    opened: list[psycopg.Connection[Any]] = []

    def look() -> None:
        mine()
        opened.append(connection.connection)

    till.meanwhile = look
    results = Shop().lapse([str(order.pk) for order in orders])
    assert [result.outcome for result in results.values()] == [Outcome.LAPSED] * 4
    assert len(opened) == 4
    assert all(one.closed for one in opened)
