"""A timer in the orders' own database is armed in their transaction, and never fails a sale."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from pytest_django import Settings

from lapse import Deadline, open_timer
from lapse.integrations.django import arming, timer, unpaid_orders
from lapse.testing.servers import PostgresServer
from lapse.timers.sql.timer import SqlTimer
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Order
from tests.django.adopter.placing import NOT_YET, place

pytestmark = pytest.mark.django_db(transaction=True)

AMONG_THE_ORDERS = "SELECT count(*) FROM lapse_deadline WHERE timer = 'orders' AND key <> ''"


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """Address the orders' own database."""
    return postgres.url_of(connection.settings_dict["NAME"])


@pytest.fixture
def beside(settings: Settings, url: str) -> Iterator[SqlTimer]:
    """Configure a timer in the orders' own database; afterwards there is no table."""
    settings.LAPSE_ORDERS = "tests.django.adopter.lapsing.AdopterOrders"
    settings.LAPSE_TIMER = url
    opened = timer()
    assert isinstance(opened, SqlTimer)
    yield opened
    drop_table()


@pytest.fixture
def orders(beside: SqlTimer) -> AdopterOrders:
    """Open the orders that this timer is for."""
    del beside
    found = unpaid_orders()
    assert isinstance(found, AdopterOrders)
    return found


def drop_table() -> None:
    """Make the database as it was before the first use."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS lapse_deadline; DROP SEQUENCE IF EXISTS lapse_deadline_token")


def seen_within() -> int:
    """Count what the orders' own connection sees of the timer's rows."""
    with connection.cursor() as cursor:
        cursor.execute(AMONG_THE_ORDERS)
        return int(cursor.fetchone()[0])


def test_the_deadline_is_in_the_orders_own_transaction(orders: AdopterOrders, beside: SqlTimer) -> None:
    """Its row is there before the commit, for this connection alone; after it, for all."""
    with transaction.atomic():
        orders.arm(*place(due=NOT_YET))
        assert seen_within() == 1
        assert beside.stats().pending == 0
    assert beside.stats().pending == 1


def test_a_rolled_back_order_leaves_nothing(orders: AdopterOrders, beside: SqlTimer) -> None:
    """Nor does an inner block that fails."""
    with transaction.atomic():
        orders.arm(*place(due=NOT_YET))
        transaction.set_rollback(True)
    with transaction.atomic():
        with transaction.atomic():
            orders.arm(*place(due=NOT_YET))
            transaction.set_rollback(True)
        (kept,) = place(due=NOT_YET)
        orders.arm(kept)
    assert beside.stats().pending == Order.objects.count() == 1


def test_a_commit_is_never_without(orders: AdopterOrders, beside: SqlTimer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if nothing at all is done after it."""
    monkeypatch.setattr(connection, "run_and_clear_commit_hooks", lambda: None)
    with transaction.atomic():
        orders.arm(*place(3, due=NOT_YET))
    assert beside.stats().pending == 3


def test_disarming_and_arming_again_keep_their_order(orders: AdopterOrders, beside: SqlTimer) -> None:
    """Disarmed and then armed in one transaction is armed; disarmed and rolled back is armed still."""
    (order,) = place(due=NOT_YET)
    orders.arm(order)
    with transaction.atomic():
        orders.disarm(order)
        orders.arm(order)
    assert beside.stats().pending == 1
    with transaction.atomic():
        orders.disarm(order)
        assert seen_within() == 0
        transaction.set_rollback(True)
    assert beside.stats().pending == 1
    orders.disarm(order)
    assert beside.stats().pending == 0


def test_a_manual_transaction_is_one_too(orders: AdopterOrders, beside: SqlTimer) -> None:
    """Where autocommit is off, the shop's own commit decides."""
    connection.set_autocommit(False)
    try:
        orders.arm(*place(due=NOT_YET))
        assert beside.stats().pending == 0
        connection.commit()
        assert beside.stats().pending == 1
        orders.arm(*place(due=NOT_YET))
        connection.rollback()
        assert beside.stats().pending == 1
    finally:
        connection.set_autocommit(True)


def test_a_sleeper_is_woken_by_the_commit(orders: AdopterOrders, beside: SqlTimer, url: str) -> None:
    """A claim that waits gets the order that is committed meanwhile, and not before the commit."""
    with open_timer(url, name="orders") as worker:
        beside.stats()
        with transaction.atomic():
            (order,) = place(due=timedelta(seconds=0))
            orders.arm(order)
            assert worker.claim(wait=timedelta(milliseconds=300)) == []
        assert [claim.key for claim in worker.claim(wait=timedelta(seconds=60))] == [str(order.pk)]


def test_where_the_table_is_is_looked_up_once(
    orders: AdopterOrders, beside: SqlTimer, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first order, arming costs the savepoint and its release, which Django counts, and no look-up."""
    asked: list[object] = []
    arms_in = beside.arms_in

    def count(where: object) -> bool:
        asked.append(where)
        return arms_in(where)

    monkeypatch.setattr(beside, "arms_in", count)
    with transaction.atomic():
        orders.arm(*place(due=NOT_YET))
    with transaction.atomic():
        (order,) = place(due=NOT_YET)
        with django_assert_num_queries(2):
            orders.arm(order)
    assert len(asked) == 1
    assert beside.stats().pending == 2


def test_a_table_that_is_locked_does_not_fail_the_sale(
    orders: AdopterOrders, beside: SqlTimer, url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sale waits for a moment and stands; the next does not wait at all; then the timer is armed again."""
    orders.arm(*place(due=NOT_YET))
    with psycopg.connect(url) as other, caplog.at_level(logging.WARNING, "lapse"):
        other.execute("LOCK TABLE lapse_deadline")
        for _ in range(2):
            with transaction.atomic():
                orders.arm(*place(due=NOT_YET))
                with connection.cursor() as cursor:
                    cursor.execute("SHOW lock_timeout")
                    assert cursor.fetchone() == ("0",)
    assert [record.message.partition(",")[0] for record in caplog.records] == ["the timer cannot be armed"]
    assert (Order.objects.count(), beside.stats().pending) == (3, 1)
    monkeypatch.setattr(arming, "LEFT_ALONE", 0.0)
    orders._arming._not_before = 0.0
    with transaction.atomic():
        orders.arm(*place(due=NOT_YET))
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("0",)
    assert caplog.records[-1].message == "the timer can be armed again"
    assert (Order.objects.count(), beside.stats().pending) == (4, 2)


def test_a_table_that_is_dropped_under_way_does_not_fail_the_sale(
    orders: AdopterOrders, beside: SqlTimer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that meets it stands without a deadline, and those that come later make the table again."""
    monkeypatch.setattr(arming, "LEFT_ALONE", 0.0)
    with transaction.atomic():
        orders.arm(*place(due=NOT_YET))
    drop_table()
    for _ in range(3):  # one meets the missing table, one the timer's own connection that knew it
        with transaction.atomic():
            orders.arm(*place(due=NOT_YET))
    assert Order.objects.count() == 4
    assert beside.stats().pending > 0


def test_a_fault_of_the_timer_does_not_fail_the_sale(
    orders: AdopterOrders, beside: SqlTimer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any error is logged, with its traceback where it is none of the timer's own errors."""

    def fail(_connection: object, _deadlines: list[Deadline]) -> None:
        raise RuntimeError("no one foresaw this")

    monkeypatch.setattr(beside, "arm_in", fail)
    with caplog.at_level(logging.WARNING, "lapse"), transaction.atomic():
        orders.arm(*place(due=NOT_YET))
    assert Order.objects.count() == 1
    assert caplog.records[-1].exc_info is not None


def test_a_connection_that_breaks_does_not_seem_a_sale(
    orders: AdopterOrders, beside: SqlTimer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the whole transaction is gone, arming raises: the order was not placed."""
    orders.arm(*place(due=NOT_YET))
    arm_in = beside.arm_in

    def arm_too_late(where: object, deadlines: list[Deadline]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (process,) = cursor.fetchone()
        with psycopg.connect(url) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [process])
        arm_in(where, deadlines)

    @transaction.atomic
    def sell() -> None:
        orders.arm(*place(due=NOT_YET))

    monkeypatch.setattr(beside, "arm_in", arm_too_late)
    with pytest.raises(OperationalError, match="transaction ended"):
        sell()
    connection.close()
    assert (Order.objects.count(), beside.stats().pending) == (1, 1)


def test_a_block_that_is_lost_already_is_left_alone(orders: AdopterOrders, beside: SqlTimer) -> None:
    """An order whose transaction will be rolled back is armed without an error, and not at all."""
    with transaction.atomic():
        (order,) = place(due=NOT_YET)
        transaction.set_rollback(True)
        orders.arm(order)
    assert (Order.objects.count(), beside.stats().pending) == (0, 0)


@pytest.mark.parametrize("elsewhere", ["another database", "another schema", "no rights", "serializable", "a file"])
def test_a_timer_elsewhere_is_armed_after_the_commit(
    settings: Settings, postgres: PostgresServer, url: str, elsewhere: str, tmp_path: Any
) -> None:
    """Where the orders' connection would write to another table, or must not write, the timer's own does it."""
    settings.LAPSE_ORDERS = "tests.django.adopter.lapsing.AdopterOrders"
    settings.LAPSE_TIMER = {
        "another database": postgres.url,
        "a file": f"sqlite:///{tmp_path}/deadlines.db",
    }.get(elsewhere, url)
    opened, orders = timer(), unpaid_orders()
    assert isinstance(opened, SqlTimer)
    before = opened.stats().pending
    with connection.cursor() as cursor:
        try:
            if elsewhere == "another schema":
                cursor.execute("CREATE SCHEMA mine")
                cursor.execute("CREATE TABLE mine.lapse_deadline (LIKE lapse_deadline INCLUDING ALL)")
                cursor.execute("SET search_path = mine, public")
            if elsewhere == "no rights":
                cursor.execute("CREATE ROLE clerk; GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk")
                cursor.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk")
                cursor.execute("REVOKE DELETE ON lapse_deadline FROM clerk; SET ROLE clerk")
            if elsewhere == "serializable":
                cursor.execute("SET default_transaction_isolation = 'serializable'")
            with transaction.atomic():
                (order,) = place(due=NOT_YET)
                orders.arm(order)
                assert opened.stats().pending == before
                if elsewhere not in {"another database", "a file"}:
                    assert seen_within() == 0
            assert opened.stats().pending == before + 1
        finally:
            cursor.execute("RESET ROLE; RESET search_path; RESET default_transaction_isolation")
            cursor.execute("DROP SCHEMA IF EXISTS mine CASCADE")
            if elsewhere == "no rights":
                cursor.execute("DROP OWNED BY clerk; DROP ROLE clerk")
            opened.disarm([str(order.pk)])
    drop_table()
