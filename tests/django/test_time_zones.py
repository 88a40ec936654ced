"""UTC is compared with UTC, in any time zone of the server, of the session and of the stored times (case A2)."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pymysql
import pytest
from django.db import connections
from django.db.models import Q
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from lapse import Deadline
from lapse.integrations.django import Since, UnpaidOrders, timer
from lapse.integrations.django.models import Window
from lapse.integrations.django.rows.database_clock import aware, has_fixed_offset
from lapse.integrations.django.rows.windows import NOTICE, UNDISTURBED
from lapse.orders import OrderBatch, Outcome
from lapse.testing.servers import MariaDbServer, PostgresServer
from tests.django.databases import ALIAS, chosen
from tests.django.wirings.models import Bill
from tests.timers.databases import NEEDS_MARIADB

WINDOW = timedelta(minutes=30)
CHINA, COLOMBIA = "Asia/Shanghai", "America/Bogota"  # +08:00 and -05:00 all year


class ByColumn(UnpaidOrders[Bill]):
    """Orders with a field for the deadline."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline: ClassVar[str | Since] = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Do nothing: these orders reserve nothing."""


class BySince(ByColumn):
    """The same deadline, without its field."""

    deadline = Since("placed_at", minutes=30)


class Longer(ByColumn):
    """The same orders, with more time."""

    deadline = Since("placed_at", minutes=40)


BOTH = [ByColumn, BySince]


@dataclass(frozen=True)
class Zones:
    """A database, and the time zones that its sessions, its server and Django have."""

    kind: str
    database: dict[str, Any] = field(default_factory=dict)
    django: dict[str, Any] = field(default_factory=dict)
    server: str = ""


def session(zone: str) -> dict[str, Any]:
    """Return what DATABASES says of a MariaDB whose sessions have this time zone."""
    return {"OPTIONS": {"charset": "utf8mb4", "init_command": f"SET time_zone = '{zone}'"}}


NAIVE = {"USE_TZ": False, "TIME_ZONE": CHINA}
EACH = {
    "postgresql-session-east": Zones("postgresql", {"OPTIONS": {"options": "-c timezone=Asia/Shanghai"}}),
    "postgresql-server-west": Zones("postgresql", server=COLOMBIA),
    "postgresql-stored-east": Zones("postgresql", {"TIME_ZONE": CHINA}),
    "postgresql-naive": Zones("postgresql", django=NAIVE),
    "mariadb-session-east": Zones("mariadb", session("+08:00")),
    "mariadb-session-west": Zones("mariadb", session("-05:00")),
    "mariadb-server-east": Zones("mariadb", server="+08:00"),
    "mariadb-server-west": Zones("mariadb", server="-05:00"),
    "mariadb-stored-east": Zones("mariadb", {"TIME_ZONE": CHINA}),
    "mariadb-stored-east-session-west": Zones("mariadb", {"TIME_ZONE": CHINA, **session("-05:00")}),
    "mariadb-naive": Zones("mariadb", django=NAIVE),
    "mariadb-naive-session-west": Zones("mariadb", session("-05:00"), django=NAIVE),
    "sqlite-stored-east": Zones("sqlite", {"TIME_ZONE": CHINA}),
    "sqlite-stored-west": Zones("sqlite", {"TIME_ZONE": COLOMBIA}),
    "sqlite-naive": Zones("sqlite", django=NAIVE),
}


@pytest.fixture(
    params=[
        pytest.param(zones, id=name, marks=[NEEDS_MARIADB] if zones.kind == "mariadb" else [])
        for name, zones in EACH.items()
    ]
)
def zones(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Zones]:
    """Use each database in each combination of time zones."""
    wanted: Zones = request.param
    if wanted.kind != "sqlite":  # before the settings change the time zone of this process, which a server would get
        request.getfixturevalue({"mariadb": "mariadb", "postgresql": "postgres"}[wanted.kind])
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(override_settings(LAPSE_TIMER=None, **wanted.django))
        if wanted.server and wanted.kind == "mariadb":
            mariadb: MariaDbServer = request.getfixturevalue("mariadb")
            cursor = stack.enter_context(pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root")).cursor()
            stack.callback(cursor.execute, "SET GLOBAL time_zone = SYSTEM")
            cursor.execute("SET GLOBAL time_zone = %s", [wanted.server])
        stack.enter_context(chosen(wanted.kind, request, tmp_path, **wanted.database))
        if wanted.server and wanted.kind == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres")
            admin = stack.enter_context(psycopg.connect(postgres.url, autocommit=True))
            stack.callback(admin.execute, "ALTER DATABASE wirings RESET timezone")
            admin.execute(f"ALTER DATABASE wirings SET timezone = '{wanted.server}'".encode())
            connections[ALIAS].close()
        yield wanted


def ahead(**spans: float) -> Bill:
    """Place an order that is due so far ahead, in the form of time that Django's settings ask for."""
    due = timezone.now() + timedelta(**spans)
    return Bill.objects.create(pay_by=due, placed_at=due - WINDOW)


def key(order: Bill) -> str:
    """Name the order."""
    return str(order.pk)


def due_at(order: Bill) -> datetime:
    """Return the moment at which the order is due."""
    assert order.pay_by
    return aware(order.pay_by).astimezone(UTC)


@pytest.mark.usefixtures("zones")
def test_a2_only_orders_that_are_due_lapse() -> None:
    """A second late lapses, and half an hour early does not. The moment and what is left of it are right."""
    for orders in BOTH:
        due, early = ahead(seconds=-1), ahead(minutes=30)
        results = orders().lapse([key(due), key(early)])
        assert results[key(due)].outcome is Outcome.LAPSED
        waiting = results[key(early)]
        assert (waiting.outcome, waiting.due_at) == (Outcome.NOT_DUE, due_at(early))
        assert waiting.due_in is not None
        assert timedelta(minutes=29) < waiting.due_in <= timedelta(minutes=30)
        assert abs(orders()._queries.now() - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.usefixtures("zones")
def test_a2_the_sweep_finds_what_is_overdue() -> None:
    """With a time of grace, page by page, and for arming again."""
    placed = [ahead(minutes=-minutes) for minutes in (9, 7, 5)]
    early = ahead(minutes=5)
    for orders in BOTH:
        port = orders().port()
        found = port.overdue(9)
        assert found == [Deadline(key(order), due_at(order)) for order in placed]
        assert port.overdue(1, after=found[0]) == found[1:2]
        assert port.overdue(9, after=found[1]) == found[2:]
        assert port.overdue(9, after=found[2]) == []
        assert port.overdue(9, grace=timedelta(minutes=6)) == found[:2]
        assert sorted(port.deadlines(), key=lambda one: one.due_at) == [*found, Deadline(key(early), due_at(early))]


@pytest.mark.usefixtures("zones")
def test_a2_reads_people_and_payers() -> None:
    """A sale and a page lapse what is due; a person cancels, and a buyer pays, what is not."""
    for orders in BOTH:
        Bill.objects.all().delete()
        late, later, held = ahead(minutes=-9), ahead(minutes=-5), ahead(minutes=5)
        assert list(orders().lapse_overdue(limit=1)) == [key(late)]
        assert [bill.status for bill in orders().fresh(Bill.objects.order_by("pk"))] == ["cancelled"] * 2 + ["awaiting"]
        assert later.status == "awaiting"  # as it was read before
        with orders().hold(held) as order:
            order.status = "paid"
            order.save()
        assert orders().cancel([held], by="buyer", reason="late")[key(held)].outcome is Outcome.NOT_UNPAID
        early = ahead(minutes=5)
        assert orders().cancel([early], by="buyer", reason="late")[key(early)].outcome is Outcome.LAPSED


@pytest.mark.usefixtures("zones")
def test_a2_a_window_takes_effect_a_minute_after_it_was_recorded() -> None:
    """And five minutes have to pass before the next one is recorded, which the process can tell in each zone."""
    BySince().port().overdue(1)
    row = Window.objects.using(ALIAS).get()
    assert timedelta(0) < aware(row.since) - datetime.now(UTC) <= NOTICE
    Longer().port().overdue(1)
    assert Window.objects.using(ALIAS).count() == 1
    row.since -= NOTICE + UNDISTURBED
    row.save(using=ALIAS)
    Longer().port().overdue(1)
    assert Window.objects.using(ALIAS).count() == 2
    early = ahead(minutes=30)
    assert Longer().deadline_of(early) == due_at(early)


@pytest.mark.usefixtures("zones")
@pytest.mark.parametrize("orders", ["ByColumn", "BySince"])
def test_a2_the_timer_is_armed_at_the_moment(orders: str) -> None:
    """An instance that was just placed, and one that was read, arm the same moment."""
    with override_settings(LAPSE_ORDERS=f"{__name__}.{orders}", LAPSE_TIMER="memory://"):
        opened = timer()
        assert opened is not None
        order = ahead(minutes=30)
        for instance in (order, Bill.objects.get(pk=order.pk)):
            BOTH[orders == "BySince"]().arm(instance)
            armed = opened.stats().next_due
            assert armed is not None
            assert abs(armed - due_at(order)) <= timedelta(milliseconds=1)
            assert timedelta(minutes=29) < armed - datetime.now(UTC) <= timedelta(minutes=30)
            opened.disarm([key(order)])


@pytest.mark.parametrize("zone", ["UTC", CHINA, COLOMBIA, "Asia/Kolkata"])
def test_a_zone_with_a_fixed_offset(zone: str) -> None:
    """China's clocks were changed until 1991, and are not today."""
    assert has_fixed_offset(zone)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"])
def test_a_zone_whose_clocks_change(zone: str) -> None:
    """Lord Howe's change by half an hour, Casablanca's with the moon."""
    assert not has_fixed_offset(zone)
