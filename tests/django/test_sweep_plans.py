"""The sweep and lapsing on read look at overdue orders and no others, in an analysed table with many orders."""

from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

import pytest
from django.db import connections, transaction
from django.db.models import Q
from django.utils import timezone

from lapse.integrations.django import UnpaidOrders
from lapse.orders import OrderBatch
from tests.django.databases import ALIAS
from tests.django.wirings.models import Bill

ORDERS = 100_000
DOUBLED = 8
"""How often the number of orders doubles while the table is filled."""
OVERDUE = 20
MOST = 400
"""Rows that a read of the overdue orders may look at, in an index and in the table."""

UNPAID = {
    "postgresql": "CREATE INDEX bill_unpaid ON wirings_bill (pay_by) WHERE status = 'awaiting'",
    "sqlite": "CREATE INDEX bill_unpaid ON wirings_bill (pay_by) WHERE status = 'awaiting'",
    "mariadb": "CREATE INDEX bill_unpaid ON wirings_bill (status, pay_by)",
}
"""The index that the documentation names for each database."""

ANALYSE = {"postgresql": "ANALYZE", "sqlite": "ANALYZE", "mariadb": "ANALYZE TABLE wirings_bill"}


class Bills(UnpaidOrders[Bill]):
    """A shop with a long history."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Do nothing: these orders reserve nothing."""


@pytest.fixture
def kind(database: str) -> str:
    """Fill a table: half of the orders are over, half are unpaid and not due, and a few are overdue."""
    now, hour = timezone.now(), timedelta(hours=1)
    over = [Bill(status="cancelled", pay_by=now - hour) for _ in range(ORDERS >> DOUBLED)]
    waiting = [Bill(pay_by=now + hour) for _ in range(ORDERS >> DOUBLED)]
    Bill.objects.bulk_create([*over, *waiting])
    columns = ", ".join(str(field.column) for field in Bill._meta.concrete_fields if not field.primary_key)
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(UNPAID[database])
        for _ in range(DOUBLED - 1):
            cursor.execute(f"INSERT INTO wirings_bill ({columns}) SELECT {columns} FROM wirings_bill")  # noqa: S608 - names of the model
        Bill.objects.bulk_create([Bill(pay_by=now - hour) for _ in range(OVERDUE)])
        cursor.execute(ANALYSE[database])
    return database


def test_a_sweep_reads_what_is_overdue_and_no_more(kind: str) -> None:
    """A sweep every 15 seconds beside a million orders must not cost the shop's database a look at each of them."""
    port = Bills().port(background=True)
    shown = Bill.objects.filter(pk__in=list(Bill.objects.values_list("pk", flat=True)[:OVERDUE]))
    read = {
        "a page of the sweep": rows_read(kind, lambda: port.overdue(500)),
        "a short page of the sweep": rows_read(kind, lambda: port.overdue(10)),
        "the page after it": rows_read(kind, lambda: port.overdue(10, after=port.overdue(10)[-1])),
        "a list that a page shows": rows_read(kind, lambda: list(Bills().fresh(shown))),
        "orders that cannot be read": rows_read(kind, lambda: port.unreadable(10)),
    }
    assert {name: rows for name, rows in read.items() if rows > MOST} == {}


def rows_read(kind: str, call: Callable[[], object]) -> int:
    """Return how many rows the call reads in the table of the orders."""
    connection = connections[ALIAS]
    if kind == "sqlite":
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return 0

        connection.ensure_connection()
        connection.connection.set_progress_handler(count, 20)
        call()
        connection.connection.set_progress_handler(None, 0)
        return calls
    with transaction.atomic(ALIAS), connection.cursor() as cursor:
        if kind == "mariadb":
            question = "SHOW SESSION STATUS LIKE 'Handler_read%%'"
            cursor.execute("FLUSH STATUS")
            call()
            cursor.execute(question, [])
            return sum(int(value) for _, value in cursor.fetchall())
        question = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'wirings_bill'"
        cursor.execute(question)
        before = cursor.fetchone()[0]
        call()
        cursor.execute(question)
        return int(cursor.fetchone()[0] - before)
