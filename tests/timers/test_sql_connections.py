"""The connections of the SQL timers: across forks, after errors, and after the server has ended them."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pymysql
import pytest

from lapse import Deadline, open_timer
from lapse.testing.conformance import LONG, ago, keys_of, run_together
from lapse.testing.servers import MariaDbServer, PostgresServer
from lapse.timers.sql.connections import Connections
from lapse.timers.sql.mysql_address import settings_of
from lapse.timers.sql.timer import SqlTimer
from tests.timers.databases import DATABASES

FORKED = """
import os, sys, threading
from datetime import UTC, datetime, timedelta
from lapse import Deadline, open_timer
url, name = sys.argv[1:]
timer = open_timer(url, name=name)
assert timer.claim(wait=timedelta(milliseconds=100)) == []
stop = threading.Event()
def arm_repeatedly():
    while not stop.is_set():
        timer.arm([Deadline("busy", datetime.now(UTC) + timedelta(hours=1))])
busy = threading.Thread(target=arm_repeatedly)
busy.start()
receive, send = os.pipe()
child = os.fork()
if not child:
    timer.stats()
    os.read(receive, 1)  # until the parent has closed its handle
    timer.arm([Deadline("child", datetime.now(UTC))])
    os._exit(0)
stop.set()
busy.join()
timer.arm([Deadline("parent", datetime.now(UTC))])
timer.close()
os.write(send, b"x")
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("database", DATABASES)
def test_what_parent_and_child_arm_after_a_fork_is_kept(
    database: str, sql_url: Callable[[str], str], timer_name: str
) -> None:
    """A process forks while it arms, and closes its timer before its child arms by the same timer: nothing is lost."""
    url = sql_url(database)
    subprocess.run([sys.executable, "-c", FORKED, url, timer_name], check=True, timeout=120)
    with open_timer(url, name=timer_name) as timer:
        assert sorted(keys_of(timer.claim())) == ["child", "parent"]
        assert timer.stats().pending == 1  # the key that the thread arms repeatedly


def test_a_connection_lent_while_all_are_closed_is_not_lent_again(tmp_path: Path) -> None:
    """A connection that was lent while all were closed may be broken too, so it is closed when it is returned."""
    connections = Connections(lambda: sqlite3.connect(tmp_path / "file.db"))
    with connections.lend() as lent:
        connections.close()
        lent.execute("SELECT 1")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        lent.execute("SELECT 1")
    with connections.lend() as kept:
        pass
    with connections.lend() as again:
        assert again is kept
    connections.close()


@pytest.mark.parametrize("database", DATABASES[:2])
def test_a_connection_that_its_server_has_ended_is_replaced(
    database: str, sql_url: Callable[[str], str], timer_name: str, request: pytest.FixtureRequest
) -> None:
    """A restarted server, or a proxy, has ended the idle connections: the next call succeeds all the same."""
    with open_timer(sql_url(database), name=timer_name) as timer:
        timer.arm([Deadline("1", ago(5))])
        if database == "mysql":
            _kill_all(request.getfixturevalue("mariadb"))
        else:
            _terminate_all(request.getfixturevalue("postgres"))
        timer.arm([Deadline("2", ago(4))])
        assert keys_of(timer.claim()) == ["1", "2"]


def _terminate_all(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        ended = admin.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'lapse'"
        ).fetchall()
    assert (True,) in ended


def _kill_all(server: MariaDbServer) -> None:
    with pymysql.connect(**settings_of(server.url)) as admin, admin.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user <> 'system user'"
        )
        found = [number for (number,) in cursor.fetchall()]
        assert found
        for number in found:
            cursor.execute("KILL %s", [number])
        while any(number in found for (number,) in _processes(cursor)):
            pass


def _processes(cursor: pymysql.cursors.Cursor) -> tuple[tuple[int], ...]:
    cursor.execute("SELECT id FROM information_schema.processlist")
    return tuple(cursor.fetchall())


@pytest.mark.parametrize("database", DATABASES)
def test_claims_that_begin_together_start_one_thread(
    database: str, sql_url: Callable[[str], str], timer_name: str
) -> None:
    """However many claims begin to wait at the same moment, one thread watches for them, with one connection."""
    before = set(threading.enumerate())
    with open_timer(sql_url(database), name=timer_name) as timer:
        assert isinstance(timer, SqlTimer)
        timer.stats()
        usual = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)  # let threads interrupt each other as often as possible
        try:
            run_together([lambda: timer._database.watch(timer_name, timer._waker)] * 32)
        finally:
            sys.setswitchinterval(usual)
        watching = [one for one in set(threading.enumerate()) - before if one.name.startswith("lapse")]
        assert len(watching) == 1


def test_a_locked_lease_delays_no_other_renewal(postgres: PostgresServer, timer_name: str) -> None:
    """While a payment's open transaction locks one claimed row, the other leases are renewed."""
    with open_timer(postgres.url, name=timer_name) as timer, psycopg.connect(postgres.url) as payment:
        assert isinstance(timer, SqlTimer)
        timer.arm([Deadline("paid", ago(5)), Deadline("unpaid", ago(5))])
        claims = timer.claim()
        timer.disarm_in(payment, ["paid"])
        assert keys_of(timer.renew(claims, lease=LONG)) == ["unpaid"]
        payment.rollback()
