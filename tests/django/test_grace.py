"""The grace: an order lapses some time after its announced deadline, on each database and for each kind of deadline."""

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from lapse.engine.deadline import Claim
from lapse.engine.decision import Move
from lapse.integrations.django import Since, timer
from lapse.integrations.django.checks.setup import check_setup
from lapse.integrations.django.rows.database_clock import DatabaseNow
from lapse.orders import Lapsing, Outcome
from tests.django.databases import ALIAS
from tests.django.wirings.kits import BillOrders
from tests.django.wirings.models import Bill, Stock

GRACE = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)


class Stored(BillOrders):
    """The deadline is a column."""

    grace = GRACE


class Counted(Stored):
    """The deadline is half an hour after the order was placed."""

    deadline = Since("placed_at", minutes=30)


class NoTime(BillOrders):
    """A grace without its unit."""

    grace: ClassVar[Any] = 30


class Negative(BillOrders):
    """A grace that would lapse orders early."""

    grace = timedelta(seconds=-1)


class Endless(BillOrders):
    """A grace that no database can store."""

    grace = timedelta(days=40_000)


def bill(due_in: timedelta) -> Bill:
    """Make an order with this time left until its announced deadline, for both kinds of deadline."""
    pay_by = timezone.now() + due_in
    return Bill.objects.create(pay_by=pay_by, placed_at=pay_by - timedelta(minutes=30))


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("wiring", [Stored, Counted])
def test_an_order_lapses_at_its_deadline_plus_the_grace(wiring: type[BillOrders]) -> None:
    """The lapse, the sweep, a sale, a page, the results and re-arming agree; what is announced is the deadline."""
    Stock.objects.create(pieces=1)
    orders, port = wiring(), wiring().port()
    waits, over, older = bill(-9 * MINUTE), bill(-11 * MINUTE), bill(-12 * MINUTE)
    assert waits.pay_by is not None
    assert orders.deadline_of(waits) == waits.pay_by
    assert orders.lapses_at(waits) == waits.pay_by + GRACE
    assert orders.lapses_at(Bill.objects.create()) is None
    assert {one.key: one.due_at for one in port.deadlines()}[str(waits.pk)] == waits.pay_by + GRACE
    first = port.overdue(1)  # the next order is less than the grace later: a page must not skip it
    assert [one.key for one in [*first, *port.overdue(9, after=first[0])]] == [str(older.pk), str(over.pk)]
    assert [one.key for one in port.overdue(9, grace=1.5 * MINUTE)] == [str(older.pk)]
    found = orders.lapse([str(waits.pk)])[str(waits.pk)]
    assert (found.outcome, found.due_at) == (Outcome.NOT_DUE, waits.pay_by + GRACE)
    assert found.due_in is not None
    assert timedelta(0) < found.due_in <= MINUTE
    page = {order.pk: order.status for order in orders.fresh(Bill.objects.filter(pk__in=[waits.pk, over.pk]))}
    assert page == {waits.pk: "awaiting", over.pk: "cancelled"}
    assert list(orders.lapse_overdue()) == [str(older.pk)]
    with orders.hold(waits) as held:
        held.status = "paid"
        held.save()
    assert orders.lapse([str(waits.pk)])[str(waits.pk)].outcome is Outcome.NOT_UNPAID


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_the_index_of_the_deadline_serves(database: str) -> None:
    """The column itself is compared, with a grace as without one."""
    del database
    now = timezone.now()
    Bill.objects.bulk_create([Bill(pay_by=now + timedelta(seconds=n / 2)) for n in range(4000)])
    orders = Stored()
    rows = Bill.objects.filter(orders.unpaid).filter(orders._queries.deadline.passed()).order_by("pay_by", "pk")
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("ANALYZE wirings_bill")
    assert "wirings_bill_pay_by" in rows.explain().split("Filter:")[0]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("wiring", [Stored, Counted])
def test_another_grace_loses_no_order_and_lapses_none_early(
    database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, wiring: type[BillOrders]
) -> None:
    """Armed under the old grace: a longer one moves the timer's deadline, a shorter one leaves the order to a sweep."""
    del database
    settings.LAPSE_ORDERS, settings.LAPSE_TIMER = f"{__name__}.{wiring.__name__}", "memory://"
    opened = timer()
    assert opened is not None
    Stock.objects.create(pieces=1)
    order = bill(-9 * MINUTE)
    assert order.pay_by is not None
    key = str(order.pk)
    by_database = Bill(pk=order.pk, pay_by=DatabaseNow(9 * MINUTE), placed_at=DatabaseNow(39 * MINUTE))
    for instance in (order, by_database):
        wiring().arm(instance)
        armed = opened.stats().next_due
        assert armed is not None
        assert abs(armed - (order.pay_by + GRACE)) <= timedelta(milliseconds=1)
        opened.disarm([key])
    now = timezone.now()
    claim = Claim(key, order.pay_by + GRACE, attempt=1, token=1, claimed_at=now, leased_until=now)
    monkeypatch.setattr(wiring, "grace", 2 * GRACE)
    assert _handled(wiring(), claim) == {key: Move(order.pay_by + 2 * GRACE)}
    monkeypatch.setattr(wiring, "grace", timedelta(0))
    assert [one.key for one in wiring().port().overdue(1)] == [key]
    assert _handled(wiring(), claim) == {}
    assert Bill.objects.get().status == "cancelled"


@pytest.mark.parametrize(
    ("name", "says"),
    [("NoTime", "must be a timedelta"), ("Negative", "before their deadline"), ("Endless", "100 years")],
)
def test_a_wrong_grace_is_refused(settings: Settings, name: str, says: str) -> None:
    """Before the first order, with what to write instead."""
    settings.LAPSE_ORDERS = f"{__name__}.{name}"
    (message,) = check_setup()
    assert message.id == "lapse.E040"
    assert says in message.msg
    assert "timedelta(seconds=30)" in str(message.hint)


def _handled(orders: BillOrders, claim: Claim) -> dict[str, Any]:
    return dict(Lapsing(orders.port()).handle([claim]))
