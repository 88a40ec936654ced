"""Arming has no lasting side effect on an order's transaction in PostgreSQL."""

from collections.abc import Iterator

import psycopg
import pytest

from lapse import Deadline, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of
from lapse.testing.servers import PostgresServer
from lapse.timers.sql.timer import SqlTimer

SETTINGS = "current_setting('lock_timeout')"
TELL = f"""
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE '%', {SETTINGS}; RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON lapse_deadline FOR EACH ROW EXECUTE FUNCTION tell();
"""


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """Return the URL of a new database, because the test puts a trigger on the table."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE orders_within")
        yield postgres.url_of("orders_within")
        admin.execute("DROP DATABASE orders_within WITH (FORCE)")


@pytest.fixture
def timer(url: str) -> Iterator[SqlTimer]:
    """Open a timer whose table reports the settings while a row is written."""
    with open_timer(url, name="orders") as timer:
        assert isinstance(timer, SqlTimer)
        timer.stats()
        with psycopg.connect(url) as admin:
            admin.execute(TELL.encode())
        yield timer


def settings_of(order: psycopg.Connection) -> str:
    """Return the settings of the order's transaction."""
    row = order.execute(f"SELECT {SETTINGS}".encode()).fetchone()
    assert row is not None
    return str(row[0])


def test_the_transaction_keeps_its_settings(timer: SqlTimer, url: str) -> None:
    """While arming, lock waits are short. Afterwards the shop's settings are back."""
    told: list[str] = []
    with psycopg.connect(url) as order:
        order.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        order.execute("SET LOCAL lock_timeout = '7s'")
        timer.arm_in(order, [Deadline("1", ahead(LONG))])
        assert settings_of(order) == "7s"
        order.commit()
        assert settings_of(order) == "0"
    assert told == ["2s"]


def test_a_locked_row_is_waited_for_only_briefly(timer: SqlTimer, url: str) -> None:
    """If another transaction has locked the deadline, arming fails soon. At the savepoint the settings are back."""
    timer.arm([Deadline("1", ahead(LONG))])
    with psycopg.connect(url) as holder, psycopg.connect(url) as order:
        timer.arm_in(holder, [Deadline("1", ahead(LONG))])
        with pytest.raises(TimerUnavailable, match="lock timeout"), order.transaction(), order.transaction():
            timer.arm_in(order, [Deadline("1", ahead(LONG))])
        with order.transaction():
            with pytest.raises(TimerUnavailable), order.transaction():
                timer.disarm_in(order, ["1"])
            assert settings_of(order) == "0"


def test_without_a_transaction_a_deadline_is_armed_at_once(timer: SqlTimer, url: str) -> None:
    """Arming works on a connection in autocommit mode, which keeps its settings as well."""
    with psycopg.connect(url, autocommit=True) as order:
        timer.arm_in(order, [Deadline("1", ahead(LONG))])
        assert timer.stats().pending == 1
        timer.disarm_in(order, ["1"])
        assert timer.stats().pending == 0
        assert settings_of(order) == "0"


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Bogota"])
def test_the_time_zones_of_the_sessions_do_not_matter(url: str, zone: str) -> None:
    """Deadlines are due at the same moments where the database and the order's session have another time zone."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE orders_within SET timezone = '{zone}'".encode())
    with open_timer(url, name="orders") as timer, psycopg.connect(url) as order:
        assert isinstance(timer, SqlTimer)
        timer.stats()  # creates the table
        assert order.execute("SHOW timezone").fetchone() == (zone,)
        timer.arm_in(order, [Deadline("1", ahead(LONG)), Deadline("2", ago(1))])
        order.commit()
        assert keys_of(timer.claim()) == ["2"]
        next_due = timer.stats().next_due
        assert next_due is not None
        assert abs(next_due - ahead(LONG)) < LONG / 2
