"""A changed window moves no deadline of an order that was placed before, on each database."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q
from django.utils import timezone
from pytest_django import Settings

from lapse import ConfigError, Deadline
from lapse.integrations.django import Since, UnpaidOrders
from lapse.integrations.django.checks.rehearsal import check_rehearsal, rehearse
from lapse.integrations.django.models import Window
from lapse.integrations.django.rows.windows import FIRST, LAST, NOTICE, UNDISTURBED, Period, Recorded, Windows, _periods
from lapse.orders import OrderBatch, Outcome
from tests.django.adopter.threads import PATIENCE, in_thread
from tests.django.databases import ALIAS
from tests.django.wirings.models import Bill

SHORT, LONG = timedelta(minutes=30), timedelta(hours=1)


class Short(UnpaidOrders[Bill]):
    """Orders that have half an hour. An instance reads the windows of its own, as a process does."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline: ClassVar[str | Since] = Since("placed_at", minutes=30)
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Do nothing: these orders reserve nothing."""


class Long(Short):
    """The same orders, with an hour."""

    deadline = Since("placed_at", hours=1)


class ByColumn(Short):
    """The same orders, with a field for the deadline."""

    deadline = "pay_by"


def placed(**ago: float) -> Bill:
    """Place an order that long ago."""
    return Bill.objects.create(placed_at=timezone.now() - timedelta(**ago))


def key(order: Bill) -> str:
    """Name the order."""
    return str(order.pk)


def due(order: Bill, window: timedelta) -> Deadline:
    """Return the deadline of the order under this window."""
    assert order.placed_at
    return Deadline(key(order), order.placed_at + window)


def changed(first: timedelta, then: timedelta, **ago: float) -> None:
    """Record two windows; the second one took effect that long ago."""
    since = timezone.now() - timedelta(**ago)
    for number, window in enumerate((first, then), start=1):
        Window.objects.using(ALIAS).create(
            orders="orders", field="placed_at", number=number, window=window, since=since
        )


def windows() -> list[timedelta]:
    """Return the recorded windows."""
    return list(Window.objects.using(ALIAS).order_by("number").values_list("window", flat=True))


def read_windows(*shops: type[Short]) -> None:
    """Let a process of each shop look for overdue orders."""
    for shop in shops:
        shop().port().overdue(1)


def forget_notice() -> None:
    """Make all windows older, so that the next one may be recorded."""
    for row in Window.objects.using(ALIAS).all():
        row.since -= NOTICE + UNDISTURBED
        row.save(using=ALIAS)


def paged(shop: Short) -> list[Deadline]:
    """Return the overdue orders, one page for each."""
    found: list[Deadline] = []
    while page := shop.port().overdue(1, after=found[-1] if found else None):
        found += page
    return found


@pytest.mark.usefixtures("database")
def test_b4_a_shorter_window_does_not_shorten_what_was_placed() -> None:
    """Half an hour since 45 minutes ago, an hour before. The earliest deadline is not that of the oldest order."""
    changed(LONG, SHORT, minutes=45)
    first, third, waiting = placed(minutes=75), placed(minutes=65), placed(minutes=50)
    second, new = placed(minutes=40), placed(minutes=20)
    expected = [due(first, LONG), due(second, SHORT), due(third, LONG)]
    for shop in (Short(), Long()):  # the process with the other window agrees
        assert shop.port().overdue(9) == expected
        assert paged(shop) == expected
        assert shop.port().overdue(9, grace=timedelta(minutes=7)) == expected[:2]
        still = [due(waiting, LONG), due(new, SHORT)]
        assert set(shop.port().deadlines()) == {*expected, *still}
        assert [shop.deadline_of(order) for order in (waiting, new)] == [one.due_at for one in still]
        results = shop.lapse([key(waiting), key(new)])
        assert [(result.outcome, result.due_at) for result in results.values()] == [
            (Outcome.NOT_DUE, one.due_at) for one in still
        ]
    assert set(Short().lapse([key(order) for order in (first, second, third)])) == {one.key for one in expected}
    assert Bill.objects.filter(status="cancelled").count() == 3


@pytest.mark.usefixtures("database")
def test_b4_a_longer_window_is_for_new_orders_only() -> None:
    """Orders keep the window that their buyers were shown."""
    changed(SHORT, LONG, minutes=45)
    old, new, oldest = placed(minutes=50), placed(minutes=40), placed(days=1)
    for shop in (Short(), Long()):
        assert shop.port().overdue(9) == [due(oldest, SHORT), due(old, SHORT)]
        assert paged(shop) == [due(oldest, SHORT), due(old, SHORT)]
        assert shop.deadline_of(new) == due(new, LONG).due_at
    assert Long().lapse([key(new)])[key(new)].outcome is Outcome.NOT_DUE


@pytest.mark.usefixtures("database")
def test_a_former_window_leaves_the_condition() -> None:
    """A day after its last order was due, one comparison with the column is left; a page still shows the truth."""
    changed(LONG, SHORT, days=1, hours=2)
    old = placed(days=2)
    shop = Short()
    assert str(shop._deadline.passed()).count("placed_at") == 2  # from and until
    assert shop._deadline.sorting == "placed_at"
    assert [one.key for one in shop.port().overdue(9)] == [key(old)]
    assert shop.deadline_of(old) == due(old, LONG).due_at


def test_an_index_of_the_field_serves_both_windows(database: str) -> None:
    """Among many orders that are not due, the rows between two times of its index are read."""
    changed(LONG, SHORT, minutes=20)
    now = timezone.now()
    Bill.objects.bulk_create([Bill(placed_at=now - timedelta(seconds=n)) for n in range(4000)])
    with connections[ALIAS].cursor() as cursor:
        cursor.execute({"mariadb": "ANALYZE TABLE wirings_bill"}.get(database, "ANALYZE wirings_bill"))
    rows = Bill.objects.filter(Short().unpaid).filter(Short()._deadline.passed())
    assert 400 <= rows.count() < 1000  # a second later one more is due
    used = rows.explain().split()[5] if database == "mariadb" else rows.explain()  # MariaDB also names other indexes
    assert "wirings_bill_placed_at" in used


@pytest.mark.usefixtures("database")
def test_the_window_is_recorded_and_changed_once(caplog: pytest.LogCaptureFixture) -> None:
    """The second window takes effect a minute later, so that all processes have read it before."""
    read_windows(Short, Short)
    assert windows() == [SHORT]
    read_windows(Long)
    assert windows() == [SHORT]  # the first one is not yet five minutes old
    forget_notice()
    old_process = Short()
    with caplog.at_level(logging.WARNING, "lapse"):
        read_windows(Long, Long, Short)
    assert windows() == [SHORT, LONG]
    assert [record.getMessage()[:63] for record in caplog.records] == [
        "the window of orders changes from 0:30:00 to 1:00:00, for order"
    ]
    before, after = placed(minutes=0), placed(minutes=-2)
    for shop in (old_process, Short(), Long()):
        assert shop.deadline_of(before) == due(before, SHORT).due_at
        assert shop.deadline_of(after) == due(after, LONG).due_at


@pytest.mark.usefixtures("database")
def test_a_deployment_that_is_rolled_back() -> None:
    """The window of the processes that run is recorded again. Orders keep what they were placed under."""
    changed(SHORT, LONG, minutes=20)
    order = placed(minutes=10)
    read_windows(Short)
    assert windows() == [SHORT, LONG, SHORT]
    assert Short().deadline_of(order) == due(order, LONG).due_at
    future = placed(minutes=-2)
    assert Long().deadline_of(future) == due(future, SHORT).due_at


@pytest.mark.usefixtures("database")
def test_two_processes_record_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen the same latest row: one of them records its window, and both count by it."""
    read_windows(Short)
    forget_notice()
    both = threading.Barrier(2)
    record: Callable[..., None] = Windows._record

    def together(*args: object) -> None:
        both.wait(PATIENCE)
        record(*args)

    monkeypatch.setattr(Windows, "_record", together)
    racing = [in_thread(lambda: read_windows(Long)) for _ in range(2)]
    for future in racing:
        future.result(PATIENCE)
    assert windows() == [SHORT, LONG]


@pytest.mark.usefixtures("database")
def test_nothing_is_recorded_inside_a_transaction() -> None:
    """Other processes would not see the row. Without a row, the process counts by its own window."""
    order = placed(minutes=10)
    with transaction.atomic(using=ALIAS):
        shop = Long()
        assert shop.deadline_of(order) == due(order, LONG).due_at
        assert windows() == []
    shop.port().overdue(1)  # the same process, at once: a command that sweeps once has no second chance
    assert windows() == [LONG]


def test_shops_of_one_database_have_windows_of_their_own(database: str) -> None:
    """By the orders' name, which is also the timer's."""
    assert database

    class Other(Long):
        name = "others"

    read_windows(Short, Other)
    order = placed(minutes=10)
    assert Short().deadline_of(order) == due(order, SHORT).due_at
    assert Other().deadline_of(order) == due(order, LONG).due_at


def test_b4_a_database_that_is_not_migrated_is_refused(
    database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command to run, at every call and at the start. A shop with a column never reads the table."""
    assert database
    settings.LAPSE_ORDERS = f"{__name__}.Short"
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_: [])  # as if a router kept the table away
    assert check_rehearsal(databases=[ALIAS]) == []
    with connections[ALIAS].schema_editor() as editor:
        editor.delete_model(Window)
    order = placed(hours=2)
    needs_table: list[Callable[[], object]] = [
        lambda: Short().port().overdue(1),
        lambda: Short().arm(order),
        lambda: Short().lapse([key(order)]),
        lambda: Short().deadline_of(order),
        lambda: rehearse(Short()),
    ]
    for call in needs_table:
        with pytest.raises(
            ConfigError, match=r"has no table lapse_window.*`manage.py migrate lapse --database wirings`"
        ):
            call()
    settings.LAPSE_ORDERS = f"{__name__}.Short"  # as a new process, which has read no window
    (found,) = check_rehearsal(databases=[ALIAS])
    assert (found.id, "`manage.py migrate lapse" in found.msg) == ("lapse.W030", True)
    ByColumn().arm(order)
    assert ByColumn().lapse([key(order)])[key(order)].outcome is Outcome.NOT_DUE
    monkeypatch.undo()
    MigrationExecutor(connections[ALIAS]).migrate([("lapse", "0002_window")])
    assert Short().lapse([key(order)])[key(order)].outcome is Outcome.LAPSED


@pytest.mark.django_db
def test_the_migration_makes_what_the_model_says() -> None:
    """The shop's `makemigrations` finds nothing to do for this application."""
    call_command("makemigrations", "lapse", check=True, dry_run=True, verbosity=0)


def at(minutes: int) -> datetime:
    """Return a moment after FIRST."""
    return FIRST + timedelta(minutes=minutes)


def recorded(*rows: tuple[timedelta, datetime]) -> list[Recorded]:
    """Return rows of the table that take effect at these moments."""
    return [Recorded(number, window, since, LAST) for number, (window, since) in enumerate(rows, start=1)]


def test_the_first_window_is_also_that_of_older_orders() -> None:
    """Its row says when it was recorded, and that does not matter."""
    assert _periods(recorded((SHORT, at(50)))) == [Period(FIRST, LAST, SHORT)]


def test_windows_that_follow_each_other() -> None:
    """The same window twice is one period."""
    assert _periods(recorded((SHORT, at(0)), (LONG, at(10)), (LONG, at(20)), (SHORT, at(30)))) == [
        Period(FIRST, at(10), SHORT),
        Period(at(10), at(30), LONG),
        Period(at(30), LAST, SHORT),
    ]


def test_a_window_recorded_while_the_clock_was_ahead_gives_way() -> None:
    """The next one would begin before it. What has not begun is replaced."""
    ahead = (LONG, at(1000))
    assert _periods(recorded((SHORT, at(0)), ahead, (timedelta(days=1), at(20)))) == [
        Period(FIRST, at(20), SHORT),
        Period(at(20), LAST, timedelta(days=1)),
    ]
