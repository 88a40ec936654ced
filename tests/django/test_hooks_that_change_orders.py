"""Hooks and payments that change orders, while the same transaction lapses these orders: none is cancelled wrongly."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.models import F, Q
from django.utils import timezone

from lapse import InvalidDeadline
from lapse.integrations.django import UnpaidOrders
from lapse.orders import Attempt, Outcome
from tests.django.adopter.threads import PATIENCE, in_thread
from tests.django.databases import ALIAS
from tests.django.wirings.bills import Bills
from tests.django.wirings.models import Bill, Stock
from tests.timers.databases import NEEDS_MARIADB

pytestmark = pytest.mark.usefixtures("database")


class Payable(Bills):
    """Bills that are paid in the documented way."""

    def pay(self, order: Bill) -> None:
        """Pay in the documented way."""
        with self.hold(order) as held:
            held.status = "paid"
            held.save()


class WithParts(UnpaidOrders[Bill]):
    """The bills of one total belong together. To cancel one of them is to cancel all."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"

    def transition(self, order: Bill) -> None:
        """Cancel the bill, and those that belong to it; give one piece back for each."""
        for bill in [order, *Bill.objects.filter(total=order.total, status="awaiting").exclude(pk=order.pk)]:
            bill.status = "cancelled"
            bill.save()
            Stock.objects.update(pieces=F("pieces") + 1)


def overdue(count: int = 1, **values: Any) -> list[Bill]:
    """Place bills that are overdue."""
    Stock.objects.get_or_create(pk=1)
    return [Bill.objects.create(pay_by=timezone.now() - timedelta(minutes=1), **values) for _ in range(count)]


def state() -> tuple[list[str], int]:
    """Return the bills' states and the pieces in stock."""
    return list(Bill.objects.order_by("pk").values_list("status", flat=True)), Stock.objects.get().pieces


def test_a_transition_that_cancels_other_orders_of_the_batch() -> None:
    """Each of these is cancelled once, whether they lapse together or not, and the rest of the batch lapses."""
    together = overdue(3, total=30)
    alone = overdue(1, total=40)
    results = WithParts().lapse([str(bill.pk) for bill in [*together, *alone]])
    outcomes = [result.outcome for result in results.values()]
    assert sorted(outcomes) == [Outcome.LAPSED, Outcome.LAPSED, Outcome.NOT_UNPAID, Outcome.NOT_UNPAID]
    assert state() == (["cancelled"] * 4, 4)


def test_a_held_order_does_not_lapse_inside_its_payment() -> None:
    """A payment takes the stock of overdue orders, and its own order is overdue."""
    held, other = overdue(2)
    bills = Payable()
    with bills.hold(held) as order:
        results = bills.lapse_overdue()
        order.status = "paid"
        order.save()
    assert {key: result.outcome for key, result in results.items()} == {
        str(held.pk): Outcome.LOCKED,
        str(other.pk): Outcome.LAPSED,
    }
    assert state() == (["paid", "cancelled"], 1)


def test_a_held_order_can_be_cancelled_by_a_person_and_lapses_afterwards() -> None:
    """Only the timer's lapse leaves a held order alone, and only as long as it is held."""
    first, second = overdue(2)
    bills = Payable()
    with bills.hold(first), bills.hold(second):
        assert bills.cancel([first], by="clerk", reason="fraud")[str(first.pk)].outcome is Outcome.LAPSED
    assert bills.lapse([str(second.pk)])[str(second.pk)].outcome is Outcome.LAPSED
    assert state() == (["cancelled", "cancelled"], 2)


class Postponing(Payable):
    """The rule pays one order, extends one, and returns neither."""

    def postpone(self, orders: Sequence[Bill]) -> Mapping[Bill, datetime | None]:
        """Change the orders by their totals."""
        for order in orders:
            if order.total == 1:
                self.pay(order)
            elif order.total == 2:
                order.pay_by = timezone.now() + timedelta(hours=1)
                order.save()
        return {}


def test_an_order_that_postpone_pays_or_extends_does_not_lapse() -> None:
    """The orders are read again after the hook."""
    placed = [*overdue(total=1), *overdue(total=2), *overdue(total=3)]
    results = Postponing().lapse([str(bill.pk) for bill in placed])
    assert [results[str(bill.pk)].outcome for bill in placed] == [
        Outcome.NOT_UNPAID,
        Outcome.NOT_DUE,
        Outcome.LAPSED,
    ]
    assert state() == (["paid", "awaiting", "cancelled"], 1)


class Asking(Payable):
    """The hook finds the payment of one order at the gateway."""

    def open_attempts(self, orders: Sequence[Bill]) -> Sequence[Attempt]:
        """Pay by total; no attempt is open."""
        for order in orders:
            if order.total == 1:
                self.pay(order)
        return ()


def test_an_order_that_open_attempts_pays_does_not_lapse() -> None:
    """The orders are asked again after the hook."""
    placed = [*overdue(total=1), *overdue(total=2)]
    results = Asking().lapse([str(bill.pk) for bill in placed])
    assert [results[str(bill.pk)].outcome for bill in placed] == [Outcome.NOT_UNPAID, Outcome.LAPSED]
    assert state() == (["paid", "cancelled"], 1)


def test_a_postpone_without_a_return_cancels_nothing() -> None:
    """A forgotten `return` does not mean that no order is postponed."""

    class Forgotten(Payable):
        def postpone(self, orders: Sequence[Bill]) -> Mapping[Bill, datetime | None]:
            del orders
            return None  # type: ignore[return-value] # as a shop without type checks

    (bill,) = overdue()
    with pytest.raises(InvalidDeadline, match="returned None"):
        Forgotten().lapse([str(bill.pk)])
    assert state() == (["awaiting"], 0)


class Looking(WithParts):
    """The transition shows all orders, by a query that lapses the overdue ones, before it changes its order."""

    def transition(self, order: Bill) -> None:
        """Cancel the bill after the query."""
        assert len(self.fresh(Bill.objects.all())) == 2
        super().transition(order)


def test_a_transition_that_lapses_on_read_runs_once() -> None:
    """The orders that are being lapsed are left alone by the query."""
    placed = [*overdue(total=1), *overdue(total=2)]
    results = Looking().lapse([str(bill.pk) for bill in placed])
    assert {result.outcome for result in results.values()} == {Outcome.LAPSED}
    assert state() == (["cancelled", "cancelled"], 2)


@pytest.mark.parametrize("database", [pytest.param("mariadb", marks=NEEDS_MARIADB)], indirect=True)
def test_a_payment_that_goes_on_without_its_locks_is_refused() -> None:
    """MySQL ends the whole transaction to resolve a deadlock, and the shop ignores the error."""
    (bill,) = overdue()
    with pytest.raises(OperationalError, match="SAVEPOINT"), Payable().hold(bill) as held:  # noqa: PT012 - as a shop does
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("ROLLBACK")  # what a deadlock does
        in_thread(lambda: Payable().lapse([str(bill.pk)])).result(PATIENCE)
        held.status = "paid"
        held.save()
    assert state() == (["cancelled"], 1)
