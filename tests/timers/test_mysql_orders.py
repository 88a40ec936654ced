"""MySQL's timer in the order's own transaction, with each driver, framework or session of a shop."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
import sqlalchemy

from lapse import Deadline, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, ODD_KEYS, ago, ahead, keys_of
from lapse.testing.servers import MariaDbServer
from lapse.timers.sql.mysql_address import settings_of
from lapse.timers.sql.timer import SqlTimer
from tests.timers.databases import NEEDS_MARIADB

pytestmark = NEEDS_MARIADB

DJANGO = """
import sys
from datetime import UTC, datetime
from urllib.parse import urlsplit
import django, pymysql
from django.conf import settings
pymysql.install_as_MySQLdb()
address = urlsplit(sys.argv[1])
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.mysql", "NAME": "lapse", "USER": "root",
    "HOST": address.hostname, "PORT": address.port,
}})
django.setup()
from django.db import connection, transaction
from lapse import Deadline, open_timer
with open_timer(sys.argv[1], name=sys.argv[2]) as timer:
    timer.stats()
    with transaction.atomic():
        timer.arm_in(connection, [Deadline("failed", datetime.now(UTC))])
        transaction.set_rollback(True)
    with transaction.atomic():
        timer.arm_in(connection, [Deadline("placed", datetime.now(UTC)), Deadline("paid", datetime.now(UTC))])
    with transaction.atomic():
        timer.disarm_in(connection, ["paid", "unknown"])
    assert [claim.key for claim in timer.claim()] == ["placed"]
"""


class OtherDriver:
    """A connection like mysqlclient's: the same calls, and classes and errors of its own."""

    class Error(Exception):
        """The error that this driver raises."""

    class OperationalError(Error):
        """The number and the text, as the server sends them."""

    def __init__(self, connection: pymysql.Connection) -> None:
        self._connection = connection

    def get_server_info(self) -> str:
        """Return the server's version."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            return str(cursor.fetchall()[0][0])

    def cursor(self) -> "OtherDriver":
        """Return this object, which is also the cursor."""
        return self

    def execute(self, statement: str, parameters: dict[str, Any]) -> int:
        """Run a statement with parameters in the style pyformat."""
        try:
            return self._connection.cursor().execute(statement, parameters)
        except pymysql.MySQLError as error:
            raise self.OperationalError(*error.args) from error

    def close(self) -> None:
        """Do nothing: there is no cursor to close."""


@pytest.fixture
def timer(mariadb: MariaDbServer, timer_name: str) -> Iterator[SqlTimer]:
    """Open a timer whose table exists."""
    with open_timer(mariadb.url, name=timer_name) as timer:
        assert isinstance(timer, SqlTimer)
        timer.stats()
        yield timer


@pytest.fixture
def order(mariadb: MariaDbServer, timer: SqlTimer) -> Iterator[pymysql.Connection]:
    """Connect as a shop does, with transactions, after the table was created."""
    assert timer
    with pymysql.connect(**settings_of(mariadb.url)) as connection:
        yield connection


def test_through_djangos_connection(mariadb: MariaDbServer, timer_name: str) -> None:
    """A block that fails in Django's atomic() leaves no deadline. A block that ends leaves one."""
    subprocess.run([sys.executable, "-c", DJANGO, mariadb.url, timer_name], check=True, timeout=120)


@pytest.mark.parametrize("zone", ["+08:00", "-05:00"])
def test_the_time_zone_of_the_orders_session_does_not_matter(
    timer: SqlTimer, order: pymysql.Connection, zone: str
) -> None:
    """Deadlines are due at the same moments where the order's session has another time zone."""
    with order.cursor() as cursor:
        cursor.execute("SET time_zone = %s", [zone])
    timer.arm_in(order, [Deadline("1", ahead(LONG)), Deadline("2", ago(1))])
    order.commit()
    assert keys_of(timer.claim()) == ["2"]
    next_due = timer.stats().next_due
    assert next_due is not None
    assert abs(next_due - ahead(LONG)) < LONG / 2


def test_through_sqlalchemys_connection(mariadb: MariaDbServer, timer: SqlTimer) -> None:
    """A deadline is rolled back and committed like every other statement."""
    engine = sqlalchemy.create_engine(mariadb.url.replace("mysql", "mysql+pymysql", 1))  # begins nothing by itself
    with engine.connect() as connection:
        timer.arm_in(connection, [Deadline("failed", ago(1))])
        connection.rollback()
        timer.arm_in(connection, [Deadline("placed", ago(1)), Deadline("paid", ago(1))])
        timer.disarm_in(connection, ["paid"])
        connection.commit()
    engine.dispose()
    assert keys_of(timer.claim()) == ["placed"]


def test_through_another_drivers_connection(mariadb: MariaDbServer, order: pymysql.Connection, timer: SqlTimer) -> None:
    """Any connection with the calls of mysqlclient can be used, and its errors are translated."""
    driver = OtherDriver(order)
    timer.arm_in(driver, [Deadline("failed", ago(1))])
    order.rollback()
    timer.arm_in(driver, [Deadline("placed", ago(1))])
    order.commit()
    assert keys_of(timer.claim()) == ["placed"]
    with pymysql.connect(**settings_of(mariadb.url)) as admin, order.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        admin.cursor().execute("KILL %s", cursor.fetchone())
    with pytest.raises(TimerUnavailable, match="no answer"):
        timer.arm_in(driver, [Deadline("1", ago(1))])


@pytest.mark.parametrize(
    "session",
    [
        "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,IGNORE_SPACE,PIPES_AS_CONCAT,TRADITIONAL'",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET NAMES utf8mb4 COLLATE utf8mb4_turkish_ci",
    ],
)
def test_armed_in_a_session_with_any_settings(order: pymysql.Connection, timer: SqlTimer, session: str) -> None:
    """A session's modes, isolation, collation and row type have no effect on the deadlines."""
    order.cursorclass = pymysql.cursors.SSDictCursor
    order.cursor().execute(session)
    timer.arm_in(order, [Deadline(key, ago(5)) for key in [*ODD_KEYS, "gone"]])
    timer.disarm_in(order, ["gone"])
    order.commit()
    assert sorted(keys_of(timer.claim())) == sorted(ODD_KEYS)


def test_in_a_connection_that_knows_no_unicode(mariadb: MariaDbServer, timer: SqlTimer) -> None:
    """Keys of any script pass through a shop's connection in Latin-1."""
    with pymysql.connect(**settings_of(mariadb.url), charset="latin1") as order:
        timer.arm_in(order, [Deadline("订单🧾", ago(1))])
        order.commit()
    assert keys_of(timer.claim()) == ["订单🧾"]


def test_it_knows_where_it_can_be_armed(
    mariadb: MariaDbServer, order: pymysql.Connection, timer: SqlTimer, timer_name: str
) -> None:
    """arms_in is True in the timer's own database for an account that may write to the table, and False elsewhere."""
    order.cursorclass = pymysql.cursors.SSDictCursor
    assert timer.is_beside(order)
    assert timer.arms_in(order)
    with order.cursor() as cursor:
        cursor.execute("CREATE DATABASE beside")
        cursor.execute("CREATE USER clerk@'127.0.0.1'")
        cursor.execute("GRANT ALL ON beside.* TO clerk@'127.0.0.1'")
        cursor.execute("GRANT SELECT, INSERT, DELETE ON lapse.lapse_deadline TO clerk@'127.0.0.1'")
    clerks = mariadb.url.replace("root@", "clerk@")
    with pymysql.connect(**settings_of(clerks)) as clerk:
        assert timer.is_beside(clerk)
        assert not timer.arms_in(clerk)
        clerk.select_db("beside")
        assert not timer.is_beside(clerk)
        assert not timer.arms_in(clerk)
        with open_timer(mariadb.url_of("beside"), name=timer_name) as beside:
            assert isinstance(beside, SqlTimer)
            assert beside.arms_in(clerk)  # and has created the table
            assert not beside.arms_in(order)


def test_a_sale_waits_for_a_lock_only_briefly(
    mariadb: MariaDbServer, order: pymysql.Connection, timer: SqlTimer
) -> None:
    """A locked row is waited for less long than the session's own time-out, which is restored afterwards."""
    with pymysql.connect(**settings_of(f"{mariadb.url}?read_timeout=300")) as shop, shop.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 280")
        timer.arm_in(order, [Deadline("1", ago(1))])
        with pytest.raises(TimerUnavailable, match="Lock wait"):
            timer.arm_in(shop, [Deadline("1", ago(1))])
        cursor.execute("SELECT @@innodb_lock_wait_timeout")
        assert cursor.fetchall() == ((280,),)
        order.commit()
        timer.arm_in(shop, [Deadline("1", ago(1))])
        shop.commit()


def test_arming_never_commits_the_orders_transaction(mariadb: MariaDbServer) -> None:
    """A missing table is not created, because that would commit. Arming fails, and the order can be rolled back."""
    with pymysql.connect(**settings_of(mariadb.url)) as order, order.cursor() as cursor:
        cursor.execute("CREATE DATABASE empty")
        cursor.execute("CREATE TABLE empty.orders (id INTEGER) ENGINE = InnoDB")
        order.select_db("empty")
        with open_timer(mariadb.url_of("empty"), name="orders") as timer:
            assert isinstance(timer, SqlTimer)
            cursor.execute("INSERT INTO orders VALUES (1)")
            with pytest.raises(TimerUnavailable, match="lapse_deadline"):
                timer.arm_in(order, [Deadline("1", ago(1))])
            order.rollback()
            cursor.execute("SELECT COUNT(*) FROM orders")
            assert cursor.fetchone() == (0,)
            order.rollback()
            assert timer.stats().pending == 0  # this call has created the table
            timer.arm_in(order, [Deadline("1", ago(1))])
            order.commit()
            assert keys_of(timer.claim()) == ["1"]
