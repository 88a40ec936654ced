"""What the SQL timers survive: rollbacks, restarts, emptied tables, other processes, unusual URLs."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg
import pymysql
import pytest
from django.db import connection as django_connection
from django.db import transaction

from lapse import ConfigError, Deadline, TimerRefused, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of, run_together, wait_until
from lapse.testing.servers import PostgresServer
from lapse.timers.sql.mysql_address import settings_of
from lapse.timers.sql.sqlite_address import write_ahead
from lapse.timers.sql.sqlite_errors import translated
from lapse.timers.sql.timer import SqlTimer
from tests.timers.databases import DATABASES, answers

Order = psycopg.Connection | sqlite3.Connection | pymysql.Connection
"""A shop's own connection."""

CLAIMANT = """
import json, sys
from datetime import timedelta
from lapse import open_timer
taken = []
with open_timer(sys.argv[1], name=sys.argv[2]) as timer:
    print("ready", flush=True)
    sys.stdin.readline()
    while claims := timer.claim(7, wait=timedelta(milliseconds=200), lease=timedelta(minutes=10)):
        taken += [claim.key for claim in claims]
        assert timer.settle(claims) == len(claims)
print(json.dumps(taken))
"""


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, sql_url: Callable[[str], str]) -> str:
    """Return the URL of each database."""
    return sql_url(request.param)


@pytest.fixture
def timer(url: str, timer_name: str) -> Iterator[SqlTimer]:
    """Open a timer whose table exists."""
    with open_timer(url, name=timer_name) as timer:
        assert isinstance(timer, SqlTimer)
        timer.stats()
        yield timer


@pytest.fixture
def order(url: str) -> Iterator[Order]:
    """Connect as a shop does, with transactions."""
    opened: Order
    if url.startswith("sqlite"):
        opened = sqlite3.connect(url.removeprefix("sqlite:///"))
    elif url.startswith("mysql"):
        opened = pymysql.connect(**settings_of(url))
    else:
        opened = psycopg.connect(url)
    yield opened
    opened.close()


def test_a_rolled_back_order_leaves_no_deadline(timer: SqlTimer, order: Order) -> None:
    """Arming and disarming in a transaction that is rolled back changes nothing."""
    timer.arm([Deadline("old", ahead(LONG))])
    timer.arm_in(order, [Deadline("new", ago(1))])
    timer.disarm_in(order, ["old", "unknown"])
    order.rollback()
    assert timer.claim() == []
    assert timer.stats().pending == 1


def test_a_committed_order_is_armed(timer: SqlTimer, order: Order) -> None:
    """The deadline is invisible before the commit and visible after it."""
    timer.arm([Deadline("old", ago(5))])
    timer.arm_in(order, [Deadline("new", ago(1))])
    timer.disarm_in(order, ["old"])
    order.commit()
    assert keys_of(timer.claim()) == ["new"]


@pytest.mark.django_db(transaction=True)
def test_armed_through_djangos_connection(postgres: PostgresServer, timer_name: str) -> None:
    """A block that fails in Django's atomic() leaves no deadline. A block that ends leaves one."""
    url = postgres.url_of(django_connection.settings_dict["NAME"])
    with open_timer(url, name=timer_name) as timer:
        assert isinstance(timer, SqlTimer)
        timer.stats()
        with transaction.atomic():
            timer.arm_in(django_connection, [Deadline("failed", ago(1))])
            transaction.set_rollback(True)
        with transaction.atomic():
            timer.arm_in(django_connection, [Deadline("placed", ago(1))])
        assert keys_of(timer.claim()) == ["placed"]


def test_only_a_connection_of_the_databases_own_driver_is_accepted(timer: SqlTimer) -> None:
    """Any other object is refused before a statement runs."""
    with pytest.raises(ConfigError, match="needs a connection of"):
        timer.arm_in(object(), [Deadline("1", ago(1))])


def test_two_processes_never_get_the_same(url: str, timer: SqlTimer, timer_name: str) -> None:
    """Two programs claim from one table at once: each deadline goes to one of them."""
    total = 300
    timer.arm([Deadline(str(number), ago(5)) for number in range(total)])
    claimants = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMANT, url, timer_name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for claimant in claimants:
        assert claimant.stdout
        assert claimant.stdout.readline() == "ready\n"
    answers = []
    for claimant in claimants:
        assert claimant.stdin
        claimant.stdin.write("\n")
        claimant.stdin.flush()
    for claimant in claimants:
        answer, _ = claimant.communicate(timeout=120)
        assert claimant.returncode == 0
        answers += json.loads(answer)
    assert sorted(answers, key=int) == [str(number) for number in range(total)]


def test_many_open_an_empty_database_at_once(tmp_path: Path, postgres: PostgresServer) -> None:
    """The table is created once, no matter which connection is first, in either database."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE fresh")
    for url in (f"sqlite:///{tmp_path}/fresh.db", postgres.url_of("fresh")):
        numbers = count()

        def arm(url: str = url, numbers: Iterator[int] = numbers) -> None:
            with open_timer(url, name="orders") as timer:
                timer.arm([Deadline(str(next(numbers)), ago(1))])

        run_together([arm] * 6)
        with open_timer(url, name="orders") as timer:
            assert timer.stats().pending == 6


def test_an_emptied_table_is_another_generation(timer: SqlTimer, order: Order) -> None:
    """Deleting the rows changes the generation. A dropped table is created again, with later tokens."""
    timer.arm([Deadline("1", ago(1))])
    (before,) = timer.claim()
    first = timer.generation()
    order.cursor().execute("DELETE FROM lapse_deadline")
    order.commit()
    second = timer.generation()
    order.cursor().execute("DROP TABLE lapse_deadline")
    order.commit()
    with pytest.raises(TimerUnavailable):
        timer.stats()
    third = timer.generation()
    assert len({first, second, third}) == 3
    timer.arm([Deadline("1", ago(1))])
    (after,) = timer.claim()
    assert after.token > before.token


def test_another_file_in_its_place_is_another_generation(tmp_path: Path) -> None:
    """The timer writes to the new file, and no longer to the one that was replaced."""
    path = tmp_path / "deadlines.db"
    with open_timer(f"sqlite:///{path}", name="orders") as timer:
        timer.arm([Deadline("1", ago(1))])
        before = timer.generation()
        for file in tmp_path.iterdir():
            file.unlink()
        assert timer.stats().pending == 0
        assert timer.generation() != before


def test_a_restarted_server_has_lost_nothing(timer_name: str) -> None:
    """After a kill the server is unavailable. After its start deadline and generation are the same."""
    with PostgresServer() as server, open_timer(server.url, name=timer_name) as timer:
        timer.arm([Deadline("1", ahead(timedelta(seconds=1)))])
        before = timer.generation()
        assert timer.claim() == []
        server.kill()
        with pytest.raises(TimerUnavailable):
            timer.claim()
        server.start()
        assert timer.generation() == before
        wait_until(lambda: timer.stats().due == 1)
        (claim,) = timer.claim()
        assert claim.late_by >= timedelta(0)


def test_a_waiting_claim_is_notified_again_after_a_restart(timer_name: str) -> None:
    """The listener connects again, and its waiting claim wakes for a deadline that is armed then."""
    with PostgresServer() as server, open_timer(server.url, name=timer_name) as timer:
        assert timer.claim(wait=timedelta(milliseconds=100)) == []
        server.restart()
        wait_until(lambda: answers(timer.stats))
        timer.arm([Deadline("1", datetime.now(UTC))])
        assert keys_of(timer.claim(wait=timedelta(seconds=30))) == ["1"]


def test_a_role_without_rights_is_refused(postgres: PostgresServer) -> None:
    """A role that may not use or create the table is refused, and the message names the rights to grant."""
    with open_timer(postgres.url, name="orders") as timer:
        timer.stats()
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS stranger")
        admin.execute("CREATE ROLE stranger LOGIN")
    stranger = postgres.url.replace("postgres@", "stranger@")
    with open_timer(stranger, name="orders") as refused, pytest.raises(TimerRefused, match=r"GRANT|grant"):
        refused.stats()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost:port/x",
        "postgresql://localhost/x?no_such=1",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://folder/file.db",
        "sqlite:///file.db?mode=ro",
    ],
)
def test_odd_urls_are_refused(url: str) -> None:
    """A URL with a part that would be ignored or misread is refused before a connection is opened."""
    with pytest.raises(ConfigError, match=r"URL|sqlite:///"):
        open_timer(url, name="orders")


def test_a_wrong_url_keeps_its_password() -> None:
    """The message about a wrong URL does not contain the password."""
    with pytest.raises(ConfigError) as caught:
        open_timer("postgresql://user:secret%zz@localhost/x", name="orders")
    assert "secret" not in str(caught.value)


def test_unreachable_is_not_refused(tmp_path: Path, postgres: PostgresServer) -> None:
    """A missing server is temporary. A missing database, or a folder that is not writable, is final."""
    with open_timer(f"postgresql:///x?host={tmp_path}", name="orders") as timer, pytest.raises(TimerUnavailable):
        timer.stats()
    with open_timer(postgres.url_of("nowhere"), name="orders") as timer, pytest.raises(TimerRefused):
        timer.stats()
    with open_timer(f"sqlite:///{tmp_path}/none/x.db", name="orders") as timer, pytest.raises(TimerRefused):
        timer.stats()
    (tmp_path / "text.db").write_text("no database at all, but long enough to be read as one" * 100)
    with open_timer(f"sqlite:///{tmp_path}/text.db", name="orders") as timer, pytest.raises(TimerRefused):
        timer.stats()


def test_the_check_says_what_a_crash_would_lose(timer: SqlTimer) -> None:
    """The first finding is the version. A server with the fast settings of tests is unfit."""
    first, *others = timer.check()
    assert first.fit
    assert others
    assert all(finding.fit for finding in others) == (timer.traits.mechanism == "sqlite")


@pytest.mark.parametrize("name", ["SQLITE_PROTOCOL", "SQLITE_BUSY_SNAPSHOT", "SQLITE_IOERR_READ"])
def test_a_passing_error_of_a_file_is_waited_for(name: str, tmp_path: Path) -> None:
    """Another process that stands still while it begins to read ("locking protocol") ends no worker for good."""
    error = sqlite3.OperationalError("locking protocol")
    error.sqlite_errorname = name
    with pytest.raises(TimerUnavailable), translated(tmp_path):
        raise error


def test_a_file_system_without_shared_memory_is_refused(tmp_path: Path) -> None:
    """SQLite keeps the old journal mode there without an error: asked again and again, it would never change."""
    without_memory = sqlite3.connect(f"file:{tmp_path}/a.db?vfs=unix-none", uri=True)
    with closing(without_memory), pytest.raises(TimerRefused, match="put the file on a disk of this host"):
        write_ahead(without_memory)
