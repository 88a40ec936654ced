"""A mistyped name of a timer: the command names those that exist, and creates nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from lapse import Deadline, open_timer
from lapse.engine.timer import ListsNames
from lapse.testing.servers import PostgresServer, RedisServer
from lapse.watch.ledger_name import ledger_name, prefix_in
from tests.cli.running import run_here
from tests.each_redis import each_redis

LATER = datetime.now(UTC) + timedelta(hours=1)
COMMANDS = [("stats",), ("stats", "--json"), ("buried", "list"), ("buried", "retry"), ("buried", "drop", "--all")]


@pytest.fixture(scope="module", params=each_redis())
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Start each Redis that this machine has."""
    with RedisServer(binary=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def own_database(postgres: PostgresServer) -> Iterator[str]:
    """Make a database without timers of other tests, and return its URL."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE names")
        yield postgres.url_of("names")
        admin.execute("DROP DATABASE names WITH (FORCE)")


@pytest.fixture(
    params=[
        "redis",
        "redis+expiry",
        "sqlite",
        "postgresql",
        "apscheduler+redis",
        pytest.param("apscheduler+sqlite", marks=pytest.mark.long),
        pytest.param("apscheduler+postgresql", marks=pytest.mark.long),
    ]
)
def url(request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a server on which only the timers orders and reminders are, with a deadline each."""
    scheme = request.param
    redis_server.ask("FLUSHALL")
    if scheme.endswith("sqlite"):
        url = f"{scheme}:///{tmp_path}/deadlines.db"
    elif scheme.endswith("postgresql"):
        database: str = request.getfixturevalue("own_database")
        url = database.replace("postgresql", scheme, 1)
    else:
        url = redis_server.url.replace("redis", scheme, 1)
    for name in ("orders", "reminders"):
        with open_timer(url, name=name) as timer:
            timer.arm([Deadline("1", LATER)])
    yield url
    for name in ("orders", "reminders"):
        with open_timer(url, name=name) as timer:
            timer.disarm(["1"])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_c14_a_mistyped_name_is_refused_with_the_names_that_exist(url: str, words: tuple[str, ...]) -> None:
    """`lapse stats --name ordesr` showed zeros with exit code 0: it is an error, and both names are listed."""
    done = run_here(*words, url, "--name", "ordesr")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no timer of the name 'ordesr' on this server; there are: 'orders', 'reminders'" in done.stderr
    with open_timer(url, name="ordesr") as timer:
        assert isinstance(timer, ListsNames)
        assert not timer.names().known  # the command has created nothing
    assert run_here("stats", url, "--name", "orders").returncode == 0


def test_c14_check_calls_a_name_bad_that_is_nearly_one_that_exists(url: str) -> None:
    """`lapse check` before the first use of a new name is fit and lists the others; a misspelling is BAD."""
    done = run_here("check", url, "--name", "ordesr")
    assert done.returncode == 1
    assert "BAD  there is no timer of the name 'ordesr'" in done.stdout
    done = run_here("check", url, "--name", "holds")
    assert done.returncode == int("fsync off" in done.stdout)  # the private PostgreSQL is unfit, but not for its names
    assert "ok   there is no timer of the name 'holds' on this server; there are: 'orders'" in done.stdout
    assert "no timer of the name" not in run_here("check", url, "--name", "orders").stdout


def test_c14_a_worker_warns_of_a_mistyped_name(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker on a mistyped name has nothing to do for ever: its log begins with the names that exist."""
    monkeypatch.setattr("lapse.cli.worker.Worker.run", lambda _: None)
    monkeypatch.setattr("lapse.cli.worker._load", lambda _: print)
    done = run_here("worker", url, "--name", "ordesr", "--handler", "any:handler", "--json")
    assert done.returncode == 0
    assert "there are: 'orders', 'reminders'" in done.stderr + caplog.text
    done = run_here("worker", url, "--name", "holds", "--handler", "any:handler", "--json")
    assert "there are:" not in done.stderr


def test_c14_a_server_without_any_timer(redis_server: RedisServer) -> None:
    """Before the first order there are zeros, and a note that no timer is there yet: the database may be mistyped."""
    redis_server.ask("FLUSHALL")
    done = run_here("stats", redis_server.url)
    assert done.returncode == 0
    assert "no timer is on this server yet" in done.stderr
    assert redis_server.ask("DBSIZE") == 0


def test_c14_a_mistyped_prefix(redis_server: RedisServer) -> None:
    """The ledgers of `lapse watch` are listed as the prefixes by which they are given."""
    redis_server.ask("FLUSHALL")
    with open_timer(redis_server.url, name=ledger_name("订单:nick_")) as timer:
        timer.arm([Deadline("1", LATER)])
    done = run_here("stats", redis_server.url, "--prefix", "nikc_")
    assert done.returncode == 2
    assert "no timer of the name --prefix 'nikc_' on this server; there are: --prefix '订单:nick_'" in done.stderr
    assert prefix_in("orders") is None
    assert prefix_in(ledger_name("x" * 200)) is None


def test_c14_a_timer_that_cannot_list_names() -> None:
    """Where the names cannot be listed, that is said, and the counts are shown."""
    done = run_here("stats", "memory://", "--name", "ordesr")
    assert done.returncode == 0
    assert "whether a timer is named 'ordesr' is not checked" in done.stderr
