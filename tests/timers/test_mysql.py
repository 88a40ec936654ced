"""What the timer in MySQL survives: crashes, silence, lost answers, locks, deadlocks, forks, other time zones."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pymysql
import pytest

from lapse import Deadline, Timer, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, SHORT_LEASE, ago, ahead, keys_of, run_together, wait_until
from lapse.testing.faults import Proxy
from lapse.testing.servers import MariaDbServer
from lapse.timers.sql.mysql_address import settings_of
from lapse.timers.sql.statements import statements
from lapse.timers.sql.timer import SqlTimer
from tests.timers.databases import NEEDS_MARIADB, answers

pytestmark = NEEDS_MARIADB

AS_MYSQLDB = """
import pymysql
pymysql.install_as_MySQLdb()
import MySQLdb.converters  # as Django's backend does: `pymysql.err` is then another module
from lapse import TimerUnavailable, open_timer
with open_timer("mysql://root@127.0.0.1:1/lapse", name="orders") as timer:
    try:
        timer.stats()
    except TimerUnavailable as error:
        print(error)
"""

FORKED = """
import os, sys
from datetime import UTC, datetime, timedelta
from lapse import Deadline, open_timer
with open_timer(sys.argv[1], name=sys.argv[2]) as timer:
    assert timer.claim(wait=timedelta(milliseconds=100)) == []
    child = os.fork()
    if not child:
        timer.arm([Deadline("child", datetime.now(UTC))])
        (claim,) = timer.claim(wait=timedelta(seconds=30))
        assert timer.release([claim]) == 1
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert [claim.key for claim in timer.claim(wait=timedelta(seconds=30))] == ["child"]
"""


@pytest.fixture
def timer(mariadb: MariaDbServer, timer_name: str) -> Iterator[SqlTimer]:
    """Open a timer whose table exists."""
    with open_timer(mariadb.url, name=timer_name) as timer:
        assert isinstance(timer, SqlTimer)
        timer.stats()
        yield timer


@pytest.fixture
def other(mariadb: MariaDbServer, timer: Timer) -> Iterator[pymysql.Connection]:
    """Connect as another program does, with transactions, after the table was created."""
    assert timer
    with pymysql.connect(**settings_of(mariadb.url)) as connection:
        yield connection


@pytest.fixture
def own() -> Iterator[MariaDbServer]:
    """Start a server that the test may kill."""
    with MariaDbServer() as server:
        yield server


def test_many_open_an_empty_database_at_once(other: pymysql.Connection, mariadb: MariaDbServer) -> None:
    """The table is created once, no matter which connection is first."""
    other.cursor().execute("CREATE DATABASE fresh")
    numbers = count()

    def arm() -> None:
        with open_timer(mariadb.url_of("fresh"), name="orders") as timer:
            timer.arm([Deadline(str(next(numbers)), ago(1))])

    run_together([arm] * 6)
    with open_timer(mariadb.url_of("fresh"), name="orders") as timer:
        assert timer.stats().pending == 6


def test_a_restarted_server_has_lost_nothing(own: MariaDbServer) -> None:
    """After a kill the server is unavailable. After its start deadline, lease and generation are the same."""
    with open_timer(own.url, name="orders") as timer:
        timer.arm([Deadline("held", ago(5))])
        held = timer.claim(lease=LONG)
        before = timer.generation()
        timer.arm([Deadline("1", ahead(timedelta(seconds=1)))])
        own.kill()
        with pytest.raises(TimerUnavailable, match="no answer"):
            timer.claim()
        own.start()
        assert timer.generation() == before
        assert timer.settle(held) == 1
        wait_until(lambda: timer.stats().due == 1)
        (claim,) = timer.claim()
        assert claim.late_by >= timedelta(0)


def test_a_waiting_claim_wakes_again_after_a_restart(own: MariaDbServer) -> None:
    """The watch connects again, and wakes a waiting claim for a deadline that another timer has armed since."""
    with open_timer(own.url, name="orders") as timer, open_timer(own.url, name="orders") as another:
        assert timer.claim(wait=timedelta(milliseconds=100)) == []
        own.restart()
        wait_until(lambda: answers(another.stats) and answers(timer.stats))
        another.arm([Deadline("1", datetime.now(UTC))])
        assert keys_of(timer.claim(wait=timedelta(seconds=30))) == ["1"]


def test_a_frozen_server_is_unavailable(own: MariaDbServer) -> None:
    """A call to a frozen server ends. When the server continues, so does the timer, and nothing is lost."""
    with open_timer(f"{own.url}?read_timeout=0.5&connect_timeout=0.5", name="orders") as timer:
        timer.arm([Deadline("1", ago(5))])
        own.freeze()
        wait_until(lambda: not answers(timer.stats))  # on the connection that was open
        with pytest.raises(TimerUnavailable):
            timer.stats()  # on one that cannot be opened
        own.thaw()
        wait_until(lambda: answers(timer.stats))
        assert keys_of(timer.claim(wait=timedelta(seconds=30))) == ["1"]


@pytest.mark.parametrize("asked", ["LAST_INSERT_ID(TIMESTAMPDIFF", "AS ended", "AS oldest", "AS youngest", "CONVERT("])
def test_an_answer_that_is_lost(mariadb: MariaDbServer, timer_name: str, asked: str) -> None:
    """An answer lost anywhere within a claim: the claimed rows come back when the lease ends, and none stays locked."""
    with (
        Proxy(mariadb.port) as proxy,
        open_timer(f"mysql://root@127.0.0.1:{proxy.port}/lapse?read_timeout=0.5", name=timer_name) as far,
        open_timer(mariadb.url, name=timer_name) as near,
    ):
        far.arm([Deadline(str(number), ago(5)) for number in range(10)])
        proxy.swallow(asked.encode())
        with pytest.raises(TimerUnavailable):
            far.claim(5, lease=SHORT_LEASE)
        assert proxy.swallowed.is_set()
        near.arm([Deadline("0", ago(9))])  # the row is not locked
        wait_until(lambda: near.stats().claimed == 0)
        assert sorted(keys_of(near.claim(lease=LONG))) == [str(number) for number in range(10)]


def test_a_delayed_claimant_takes_nothing_under_an_old_token(timer: SqlTimer, other: pymysql.Connection) -> None:
    """A claimant that was frozen after it got its token does not undo another claim that was made since."""
    timer.arm([Deadline("1", ago(5))])
    parameters = {"timer": timer.name, "generation": "x", "most": 9, "old": 8, "young": 1, "lease": 600_000}
    token, clock, *take = statements("mysql")["claim"]
    with other.cursor() as cursor:
        for statement in (token, clock):
            cursor.execute(statement, parameters)
        other.commit()
        (claim,) = timer.claim(lease=SHORT_LEASE)
        wait_until(lambda: timer.stats().claimed == 0)
        cursor.execute("SET @lapse_now = @lapse_now + 600000")  # late enough to see that lease ended
        for statement in take:
            cursor.execute(statement, parameters)
        assert cursor.fetchall() == ()
        other.commit()
    (again,) = timer.claim()
    assert again.token > claim.token


def test_a_locked_row_delays_no_other_claim(timer: SqlTimer, other: pymysql.Connection) -> None:
    """While an order's transaction locks one deadline, the others are claimed. After the commit this one is, too."""
    timer.arm([Deadline(key, ago(5)) for key in "abc"])
    timer.arm_in(other, [Deadline("b", ago(9))])
    assert keys_of(timer.claim(lease=LONG)) == ["a", "c"]
    other.commit()
    assert keys_of(timer.claim(wait=timedelta(seconds=30))) == ["b"]


def test_a_lock_that_lasts_is_unavailable(mariadb: MariaDbServer, timer: SqlTimer, other: pymysql.Connection) -> None:
    """A call that needs the locked row fails within seconds, and may be tried again."""
    timer.arm_in(other, [Deadline("1", ago(5))])
    with open_timer(f"{mariadb.url}?read_timeout=4", name=timer.name) as impatient:
        with pytest.raises(TimerUnavailable, match="Lock wait"):
            impatient.arm([Deadline("1", ago(1))])
        other.rollback()
        impatient.arm([Deadline("1", ago(1))])


def test_a_deadlock_is_tried_again(timer: SqlTimer, other: pymysql.Connection) -> None:
    """If an order's transaction locks rows in another sequence, MySQL ends one statement, and arming goes on."""
    timer.arm([Deadline(key, ago(5)) for key in "ab"])
    before, last = _deadlocks(other), ago(60).replace(microsecond=0)
    # MySQL ends the transaction that has changed fewer rows.
    timer.arm_in(other, [Deadline("b", ago(5)), *(Deadline(f"x{number}", ago(5)) for number in range(500))])
    arming = threading.Thread(target=timer.arm, args=([Deadline("a", last), Deadline("b", last)],))
    arming.start()
    wait_until(lambda: _waits(other))
    timer.arm_in(other, [Deadline("a", ago(5))])
    other.commit()
    arming.join()
    assert _deadlocks(other) > before
    assert {claim.key for claim in timer.claim() if claim.due_at == last} == {"a", "b"}


def test_a_fork_has_connections_of_its_own(mariadb: MariaDbServer, timer_name: str) -> None:
    """Parent and child go on with the same timer, each with its own connections."""
    subprocess.run([sys.executable, "-c", FORKED, mariadb.url, timer_name], check=True, timeout=120)


def test_the_servers_time_zone_does_not_matter(mariadb: MariaDbServer, timer_name: str) -> None:
    """Deadlines are due at the same moments when the server is set to another time zone."""
    with pymysql.connect(**settings_of(mariadb.url)) as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL time_zone = '+09:30'")
        try:
            with open_timer(mariadb.url, name=timer_name) as timer:
                assert abs(timer.stats().now - datetime.now(UTC)) < timedelta(minutes=30)
                timer.arm([Deadline("1", ahead(LONG)), Deadline("2", ago(1))])
                assert keys_of(timer.claim()) == ["2"]
        finally:
            cursor.execute("SET GLOBAL time_zone = SYSTEM")


@pytest.mark.long
def test_a_hundred_thousand_pending_are_not_read(timer: SqlTimer, other: pymysql.Connection) -> None:
    """A look and a claim read the due rows by the index, however many are pending or claimed."""
    timer.arm([Deadline(f"far{number}", ahead(LONG)) for number in range(100_000)])
    timer.arm([Deadline(f"held{number}", ago(9)) for number in range(1000)])
    assert len(timer.claim(1000, lease=LONG)) == 1000
    timer.arm([Deadline(str(number), ago(5)) for number in range(20)])
    parameters = {"timer": timer.name, "generation": "x", "most": 1000, "old": 8, "young": 2, "lease": 600_000}
    with other.cursor() as cursor:
        for name in ("look", "claim"):
            cursor.execute("FLUSH STATUS")
            for statement in statements("mysql")[name]:
                cursor.execute(statement, parameters)
            assert len(cursor.fetchall()) == {"look": 1, "claim": 10}[name]
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            assert sum(int(value) for _, value in cursor.fetchall()) < 200, name


def _deadlocks(connection: pymysql.Connection) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
        return sum(int(value) for _, value in cursor.fetchall())


def _waits(connection: pymysql.Connection) -> bool:
    """Return whether a transaction waits for a row."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
        return any(int(value) for _, value in cursor.fetchall())


def test_its_errors_are_known_where_pymysql_stands_in_for_mysqldb() -> None:
    """A Django shop on PyMySQL got the driver's own errors from the timer, and its worker ended with the first."""
    done = subprocess.run([sys.executable, "-c", AS_MYSQLDB], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "MySQL gives no answer" in done.stdout
