"""A row that cannot be read is reported; the others lapse (case A8)."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import Q
from django.utils import timezone
from pytest_django import Settings

from lapse.engine.events import Event, Kind
from lapse.integrations.django import UnpaidOrders
from lapse.orders import Outcome, Sweep
from lapse.orders.isolate import isolate
from tests.django.databases import ALIAS
from tests.django.wirings.models import Bill
from tests.django.wirings.shapes import Booking, Noted

NO_TIMES: dict[str, list[Any]] = {
    "postgresql": ["-infinity", "infinity", "20000-01-01", "0044-03-15 BC"],
    "mariadb": ["0000-00-00 00:00:00", "2024-00-10 00:00:00", "2024-02-31 00:00:00"],
    "sqlite": ["garbage", "", "2024-02-30 10:00:00", "2024-13-45", "2024", "in ten minutes", "20000-01-01", 5, b"\0"],
}
"""What another program may have stored as a deadline. Those of this century sort among the overdue ones."""


class Bills(UnpaidOrders[Any]):
    """Ordinary orders."""

    model: ClassVar[type[Any]] = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: Sequence[Any]) -> None:
        """Keep no stock."""


class Bookings(Bills):
    """Orders with a number that buyers see."""

    model = Booking
    key = "number"


class Notes(Bills):
    """Orders with columns that may be unreadable."""

    model = Noted


def place(kind: str) -> tuple[list[str], list[str]]:
    """Place bad rows and good ones, all unpaid and most overdue. Return the keys of the bad and of the overdue ones."""
    now = timezone.now()
    bad = [Bill.objects.create(pay_by=now) for _ in NO_TIMES[kind]]
    good = [Bill.objects.create(pay_by=now - timedelta(minutes=n)) for n in range(1, 5)]
    Bill.objects.create(pay_by=now + timedelta(minutes=5))
    Bill.objects.create(pay_by=None)
    for bill, value in zip(bad, NO_TIMES[kind], strict=True):
        store(Bill, bill.pk, "pay_by", value)
    return [str(bill.pk) for bill in bad], [str(bill.pk) for bill in good]


def store(model: type[Any], pk: int, column: str, value: Any) -> None:
    """Write the value as another program may."""
    with connections[ALIAS].cursor() as cursor:
        if connections[ALIAS].vendor == "mysql":
            cursor.execute("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute(f"UPDATE {model._meta.db_table} SET {column} = %s WHERE id = %s", [value, pk])  # noqa: S608 - names of the test


def test_a8_a_deadline_that_is_no_time_is_reported_and_the_others_lapse(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is named by each sweep and logged once. No read stops at it, also if each page is one order."""
    bad, good = place(database)
    orders = Bills()
    assert len(list(orders.port().deadlines())) == len(good) + 1
    assert [found.key for found in orders.port().overdue(1)] == good[-1:]
    events: list[Event] = []
    sweep = Sweep(orders.port().lapsing(), batch=1 + len(bad), hooks=[events.append])
    caplog.set_level(logging.INFO, "lapse")
    first, second = sweep.once(), sweep.once()
    assert (first.lapsed, sorted(first.failed)) == (len(good), sorted(bad))
    assert (second.lapsed, sorted(second.failed)) == (0, sorted(bad))
    reported = [event for event in events if event.kind is Kind.UNREADABLE]
    assert sorted(key for event in reported for key in event.keys) == sorted(bad)
    assert all("no time that Python can read" in event.reason for event in reported)
    assert {event.level for event in reported} == {logging.ERROR}
    isolated = isolate(orders.lapse, bad)
    assert {result.outcome for result in isolated.results.values()} <= {Outcome.NOT_DUE}


def test_a8_reads_and_sales_go_past_a_deadline_that_is_no_time(database: str) -> None:
    """A list, a sale that wants stock, and a worker's batch."""
    bad, good = place(database)
    orders = Bills()
    assert len(orders.lapse_overdue(limit=1)) == 1
    assert list(orders.fresh(Bill.objects.values_list("status").filter(pk=good[0]))) == [("cancelled",)]
    isolated = isolate(orders.lapse, [*bad, *good])
    assert [isolated.results[key].outcome for key in good[1:3]] == [Outcome.LAPSED] * 2
    assert {isolated.results[key].outcome for key in bad if key in isolated.results} <= {Outcome.NOT_DUE}
    assert orders.lapse_overdue() == {}


def test_a8_a_row_that_was_corrected_lapses(database: str) -> None:
    """A sweep later it is known to be readable; NULL is no deadline, and no fault."""
    bad, _ = place(database)
    sweep = Sweep(Bills().port().lapsing(), hooks=())
    sweep.once()
    Bill.objects.filter(pk=bad[0]).update(pay_by=timezone.now() - timedelta(minutes=1))
    Bill.objects.filter(pk=bad[1]).update(pay_by=None)
    Bill.objects.filter(pk=bad[2]).update(status="paid")
    assert sorted(sweep.once().failed) == sorted(bad[3:])
    sweep.once()
    assert Bill.objects.get(pk=bad[0]).status == "cancelled"


@pytest.mark.usefixtures("database")
def test_a8_a_key_that_no_timer_can_store_is_reported() -> None:
    """Such as an empty number. The others are read and lapse."""
    due = timezone.now() - timedelta(minutes=1)
    for number in ("", "A1", "A2"):
        Booking.objects.create(number=number, pay_by=due)
    swept = Sweep(Bookings().port().lapsing(), hooks=()).once()
    assert (swept.lapsed, swept.failed) == (2, ["''"])
    assert list(Bookings().port().deadlines()) == []


def test_a8_another_column_that_cannot_be_read_is_that_orders_fault(database: str) -> None:
    """The batch is halved until the order is alone; a page that is read shows the others in their new state."""
    due = timezone.now() - timedelta(minutes=1)
    orders = [Noted.objects.create(pay_by=due) for _ in range(9)]
    store(Noted, orders[4].pk, "note", "unreadable")
    bad = [str(orders[4].pk)]
    if database == "postgresql":
        store(Noted, orders[7].pk, "day", "infinity")
        bad.append(str(orders[7].pk))
    shop = Notes()
    assert len(shop.lapse_overdue(Q(pk__gte=orders[6].pk))) == 3 - (len(bad) - 1)
    swept = Sweep(shop.port().lapsing(), hooks=()).once()
    assert (swept.lapsed, sorted(swept.failed)) == (5, sorted(bad))


def test_a8_the_command_names_it_and_fails(
    database: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lapse_sweep` exits with 1, after the others have lapsed."""
    settings.LAPSE_ORDERS = "tests.django.test_bad_rows.Bills"
    bad, good = place(database)
    with pytest.raises(CommandError, match=f"{len(bad)} could not be lapsed.*{bad[0]}"):
        call_command("lapse_sweep")
    assert f"{len(good)} lapsed" in capsys.readouterr().out
    call_command("lapse_sweep", dry_run=True)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"0 would lapse, of {Bills().count_unpaid()} unpaid"
    assert {line.split(" can never lapse: its deadline is no time")[0] for line in said[1:]} == set(bad)


@pytest.mark.parametrize("database", ["postgresql", "sqlite"], indirect=True)
def test_a8_looking_for_such_rows_reads_a_range_of_the_index(database: str) -> None:
    """A sweep every 15 seconds must not read all orders of all years."""
    now = timezone.now()
    Bill.objects.bulk_create(Bill(pay_by=now, status="paid") for _ in range(2000))
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("ANALYZE")
    for outside in Bills()._deadline.unreadable():
        plan = Bill.objects.filter(Bills.unpaid).filter(outside).order_by().values_list("pk").explain()
        scans = plan.upper().replace("BITMAP INDEX SCAN", "").replace("BITMAP HEAP SCAN", "").replace("INDEX SCAN", "")
        assert "SCAN" not in scans, plan
    del database
