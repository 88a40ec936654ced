"""A deadline without a column: a window after the time at which the order was placed, on each database."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from django.db import connections
from django.db.models import Q
from django.utils import timezone
from pytest_django import Settings

from lapse import ConfigError, Deadline, InvalidDeadline
from lapse.integrations.django import Since, UnpaidOrders, timer
from lapse.integrations.django.checks.setup import check_setup
from lapse.integrations.django.rows.database_clock import DatabaseNow
from lapse.orders import OrderBatch, Outcome
from tests.django.databases import ALIAS
from tests.django.wirings.models import Bill

WINDOW = timedelta(minutes=30)


class Bills(UnpaidOrders[Bill]):
    """Orders that have 30 minutes from when they were placed."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = Since("placed_at", minutes=30)
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Do nothing: these orders reserve nothing."""


class Postponing(Bills):
    """Orders that may wait an hour longer."""

    def postpone(self, orders: Sequence[Bill]) -> dict[Bill, datetime | None]:
        """Return an hour from now for all."""
        return dict.fromkeys(orders, timezone.now() + timedelta(hours=1))


class NoSuchField(Bills):
    """Counts from a field that is not there."""

    deadline = Since("created", minutes=30)


class NoTime(Bills):
    """Counts from a field that is no time."""

    deadline = Since("status", minutes=30)


class Unindexed(Bills):
    """Counts from a field without an index."""

    deadline = Since("seen_at", minutes=30)


class MovedByEachSave(Bills):
    """Counts from a field that each save writes."""

    deadline = Since("changed_at", minutes=30)


def placed(**ago: float) -> Bill:
    """Place an order that long ago."""
    return Bill.objects.create(placed_at=timezone.now() - timedelta(**ago))


def key(order: Bill) -> str:
    """Name the order."""
    return str(order.pk)


@pytest.mark.parametrize("window", [{}, {"minutes": 0}, {"seconds": -1}, {"days": 40_000}])
def test_a_window_that_gives_no_time_is_refused(window: dict[str, float]) -> None:
    """Before any order: when the shop's class is imported."""
    with pytest.raises(ConfigError, match="minutes=30"):
        Since("placed_at", **window)


def test_two_of_the_same_are_equal() -> None:
    """Keywords are added up, and two spellings of a window are the same."""
    assert Since("placed_at", hours=1, minutes=30) == Since("placed_at", minutes=90)
    assert Since("placed_at", days=1).window == timedelta(days=1)


@pytest.mark.usefixtures("database")
def test_b4_only_orders_whose_window_has_ended_lapse() -> None:
    """One second before and after the end; an order without a time never lapses."""
    due, early, never = placed(minutes=30, seconds=1), placed(minutes=29), Bill.objects.create()
    orders = Bills()
    results = orders.lapse([key(due), key(early), key(never)])
    assert [result.outcome for result in results.values()] == [Outcome.LAPSED, Outcome.NOT_DUE, Outcome.NOT_DUE]
    assert early.placed_at
    assert results[key(early)].due_at == early.placed_at + WINDOW
    due_in = results[key(early)].due_in
    assert due_in is not None
    assert timedelta(seconds=30) < due_in <= timedelta(minutes=1)
    assert results[key(never)].due_at is None


@pytest.mark.usefixtures("database")
def test_the_sweep_pages_through_all_that_are_overdue() -> None:
    """Oldest first, orders of the same moment by key, each once; `grace` leaves the newest out."""
    same = timezone.now() - timedelta(hours=2)
    twins = [Bill.objects.create(placed_at=same) for _ in range(3)]
    first, last = placed(days=3), placed(minutes=31)
    placed(minutes=5)
    port = Bills().port()
    found: list[Deadline] = []
    after = None
    while page := port.overdue(2, after=after):
        found += page
        after = page[-1]
    assert [one.key for one in found] == [key(order) for order in (first, *twins, last)]
    assert [one.due_at for one in found[1:4]] == [same + WINDOW] * 3
    assert [one.key for one in port.overdue(9, grace=timedelta(minutes=2))] == [one.key for one in found[:-1]]


@pytest.mark.usefixtures("database")
def test_deadlines_to_arm_again() -> None:
    """Every unpaid order with a time, due or not."""
    orders = [placed(minutes=5), placed(hours=1)]
    Bill.objects.create()
    Bill.objects.create(placed_at=timezone.now(), status="paid")
    assert {one.key: one.due_at for one in Bills().port().deadlines()} == {
        key(order): order.placed_at + WINDOW for order in orders if order.placed_at
    }


@pytest.mark.usefixtures("database")
def test_reads_and_people() -> None:
    """A sale, a page and a person's cancel find the same orders."""
    orders = Bills()
    one, other, waiting = placed(hours=1), placed(hours=2), placed(minutes=1)
    assert list(orders.lapse_overdue(limit=1)) == [key(other)]
    page = orders.fresh(Bill.objects.order_by("pk"))
    assert [order.status for order in page] == ["cancelled", "cancelled", "awaiting"]
    assert one.status == "awaiting"  # as it was read before
    assert orders.cancel([waiting], by="buyer", reason="changed my mind")[key(waiting)].outcome is Outcome.LAPSED


@pytest.mark.usefixtures("database")
def test_the_timer_is_armed_at_the_end_of_the_window(settings: Settings) -> None:
    """Also where only the database knows when the order was placed."""
    settings.LAPSE_ORDERS, settings.LAPSE_TIMER = f"{__name__}.Bills", "memory://"
    opened = timer()
    assert opened is not None
    order = placed(minutes=10)
    assert order.placed_at
    for instance in (order, Bill(pk=order.pk, placed_at=DatabaseNow(timedelta(minutes=10)))):
        Bills().arm(instance)
        armed = opened.stats().next_due
        assert armed is not None
        assert abs(armed - (order.placed_at + WINDOW)) <= timedelta(milliseconds=1)
        opened.disarm([key(order)])
    Bills().arm(Bill.objects.create())
    assert opened.stats().pending == 0


@pytest.mark.usefixtures("database")
def test_b4_pages_show_the_deadline() -> None:
    """It has a time zone; an order without a time has none; a naive time is refused."""
    orders, order = Bills(), placed(minutes=10)
    assert order.placed_at
    assert orders.deadline_of(order) == order.placed_at + WINDOW
    by_database = Bill.objects.create(placed_at=DatabaseNow())
    found = orders.deadline_of(by_database)
    assert found is not None
    assert abs(found - timezone.now() - WINDOW) < timedelta(minutes=1)
    assert orders.deadline_of(Bill.objects.create()) is None
    with pytest.raises(InvalidDeadline, match="aware"):
        orders.deadline_of(Bill(pk=1, placed_at=datetime(2026, 1, 1)))  # noqa: DTZ001 - what is refused
    with pytest.raises(TypeError, match=r"deadline_of\(order\) takes"):
        orders.deadline_of(key(order))  # type: ignore[arg-type]


@pytest.mark.usefixtures("database")
def test_a_postponed_order_waits() -> None:
    """The hook decides after the window; the deadline itself stays."""
    order = placed(hours=1)
    result = Postponing().lapse([key(order)])[key(order)]
    assert result.outcome is Outcome.POSTPONED
    assert result.due_in is not None
    assert result.due_in > timedelta(minutes=50)
    assert order.placed_at
    assert Postponing().deadline_of(order) == order.placed_at + WINDOW


def test_b4_an_index_of_the_field_serves(database: str) -> None:
    """The column itself is compared: among many orders that are not due, a few rows of its index are read."""
    now = timezone.now()
    Bill.objects.bulk_create([Bill(placed_at=now - timedelta(seconds=n / 2)) for n in range(4000)])
    orders = Bills()
    rows = Bill.objects.filter(orders.unpaid).filter(orders._deadline.passed()).order_by("placed_at", "pk")
    with connections[ALIAS].cursor() as cursor:
        cursor.execute({"mariadb": "ANALYZE TABLE wirings_bill"}.get(database, "ANALYZE wirings_bill"))
    used = rows.explain().split()[5] if database == "mariadb" else rows.explain().split("Filter:")[0]
    assert "wirings_bill_placed_at" in used


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Bills", []),
        ("NoSuchField", ["lapse.E002"]),
        ("NoTime", ["lapse.E002"]),
        ("MovedByEachSave", ["lapse.E002"]),
        ("Unindexed", ["lapse.E003"]),
    ],
)
def test_a_wrong_field_is_found(settings: Settings, name: str, found: list[str]) -> None:
    """As for a field with the deadline; and a field that each save() writes would move the deadline."""
    settings.LAPSE_ORDERS = f"{__name__}.{name}"
    assert [message.id for message in check_setup()] == found
