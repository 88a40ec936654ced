"""A final refusal of a server is distinguished from a temporary one."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lapse import Deadline, Timer, TimerRefused, TimerUnavailable, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of, wait_until
from lapse.testing.faults import Proxy
from lapse.testing.redis_wire import RedisAnswered, info
from lapse.testing.servers import RedisServer

pytestmark = pytest.mark.each_redis

PASSWORD = "open sesame"

LOADING = "the server is loading its data after a start: this ends by itself, and its log says how far it is"

LOADS_A_KEY = "250000"
"""Microseconds in which a server loads a key: ten seconds for all, unless the test ends the delay."""


@pytest.fixture
def own(redis_binary: Path) -> Iterator[RedisServer]:
    """Start a server that the test may break. It writes each change to disk at once."""
    config = {"appendfsync": "always"}
    with RedisServer(binary=redis_binary, appendonly=True, config=config) as server:
        yield server


@pytest.fixture
def ours(own: RedisServer) -> Iterator[Timer]:
    """Open a timer on that server."""
    with open_timer(own.url, name="orders") as timer:
        yield timer


def test_a_wrong_password_is_refused(redis_binary: Path) -> None:
    """The message says what to check, and does not contain the password."""
    with RedisServer(binary=redis_binary, password=PASSWORD) as server:
        with (
            open_timer(f"redis://:wrong@127.0.0.1:{server.port}", name="orders") as timer,
            pytest.raises(TimerRefused, match="password") as refused,
        ):
            timer.claim()
        assert "wrong" not in str(refused.value).replace("wrong number", "")
        with (
            open_timer(f"redis://127.0.0.1:{server.port}", name="orders") as timer,
            pytest.raises(TimerRefused, match="wants a password"),
        ):
            timer.claim()
        with open_timer(server.url, name="orders") as timer:
            assert timer.claim() == []


@pytest.mark.parametrize("rights", ["-eval -evalsha", "-zadd"])
def test_missing_rights_are_refused(own: RedisServer, rights: str) -> None:
    """A user that may not run scripts, or one of the commands in them, is refused."""
    own.ask("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", *rights.split())
    with (
        open_timer(f"redis://shop:secret@127.0.0.1:{own.port}", name="orders") as timer,
        pytest.raises(TimerRefused, match=r"(?i)permission|can't run this command"),
    ):
        timer.arm([Deadline("1", ago(5))])


def test_a_full_server_is_unavailable(own: RedisServer, ours: Timer) -> None:
    """Arming may be repeated once there is room. Until then due deadlines are claimed and settled."""
    ours.arm([Deadline(str(number), ago(5)) for number in range(10)])
    own.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(TimerUnavailable, match="maxmemory"):
        ours.arm([Deadline("new", ahead(LONG))])
    claims = ours.claim(lease=LONG)
    assert ours.settle(claims) == len(claims) == 10
    own.ask("CONFIG", "SET", "maxmemory", "0")
    ours.arm([Deadline("new", ahead(LONG))])
    assert ours.stats().pending == 1


def test_a_replica_is_unavailable(own: RedisServer, ours: Timer) -> None:
    """A master that has become a replica refuses writes until it is a master again: this is temporary."""
    ours.arm([Deadline("1", ago(5))])
    with RedisServer(binary=own.binary) as master:
        own.ask("REPLICAOF", "127.0.0.1", master.port)
        wait_until(lambda: "master_link_status:up" in str(own.ask("INFO", "replication")))
        with pytest.raises(TimerUnavailable, match=r"(?i)read only"):
            ours.arm([Deadline("2", ago(5))])
    own.ask("REPLICAOF", "NO", "ONE")
    ours.arm([Deadline("2", ago(5))])
    assert keys_of(ours.claim()) == ["2"]


def test_too_few_replicas_is_unavailable(own: RedisServer, ours: Timer) -> None:
    """A master that may not write without a replica is unavailable until the replica is back."""
    ours.arm([Deadline("1", ago(5))])
    own.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(
        TimerUnavailable, match=r"^the server takes no writes while it has too few replicas \(min-replicas-to-write\)$"
    ):
        ours.claim()
    own.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    assert keys_of(ours.claim()) == ["1"]


def test_a_server_that_cannot_save_is_unavailable(redis_binary: Path, tmp_path: Path) -> None:
    """A master whose snapshots fail takes no writes until one succeeds. The message says where to look."""
    with (
        RedisServer(tmp_path, binary=redis_binary, config={"save": "3600 1"}) as server,
        open_timer(server.url, name="orders") as timer,
    ):
        timer.arm([Deadline("1", ago(5))])
        snapshot = tmp_path / "dump.rdb"
        snapshot.unlink(missing_ok=True)
        snapshot.mkdir()  # no server can replace a folder by its snapshot
        server.ask("BGSAVE")
        wait_until(lambda: info(server.port, "persistence")["rdb_last_bgsave_status"] == "err")
        with pytest.raises(
            TimerUnavailable, match=r"^the server takes no writes because it cannot save its data .* log"
        ):
            timer.claim()
        snapshot.rmdir()
        server.ask("BGSAVE")
        wait_until(lambda: info(server.port, "persistence")["rdb_last_bgsave_status"] == "ok")
        assert keys_of(timer.claim()) == ["1"]


def test_a_server_that_is_busy_with_a_script_is_unavailable(own: RedisServer, ours: Timer) -> None:
    """A script of another program that does not end blocks every client. The message says how to end the script."""
    ours.arm([Deadline("1", ago(5))])
    own.ask("CONFIG", "SET", "lua-time-limit", "20")

    def loop() -> None:
        with suppress(OSError, RedisAnswered):  # the server ends the script, or the answer takes too long
            own.ask("EVAL", "while true do end", 0)

    looping = threading.Thread(target=loop)
    looping.start()
    wait_until(lambda: _refuses(own, "BUSY"))
    with pytest.raises(
        TimerUnavailable, match=r"^the server runs a script .* does not end: SCRIPT KILL ends the script$"
    ):
        ours.claim()
    own.ask("SCRIPT", "KILL")
    looping.join(60)
    assert keys_of(ours.claim()) == ["1"]


def test_a_server_that_is_loading_is_unavailable(redis_binary: Path, tmp_path: Path) -> None:
    """A server that loads its data is unavailable. Afterwards every deadline is there."""
    with (
        RedisServer(
            tmp_path, binary=redis_binary, config={"rdbcompression": "no", "key-load-delay": LOADS_A_KEY}
        ) as server,
        open_timer(server.url, name="orders") as timer,
    ):
        timer.arm([Deadline("1", ago(5))])
        for number in range(40):  # while a server loads, it serves its connections once every 2 MiB
            server.ask("SET", f"ballast{number}", "x" * (1 << 20))
        server.ask("SAVE")
        server.kill()
        starting = threading.Thread(target=server.start)
        starting.start()
        wait_until(lambda: _refuses(server, "LOADING"))
        # A call before could wait for seconds until it tries again, and find a server that has loaded everything.
        said: list[str] = []
        while starting.is_alive() and LOADING not in said:
            try:
                timer.stats()
            except TimerUnavailable as error:
                said.append(str(error))
        assert said[-1:] == [LOADING], said
        with suppress(RedisAnswered):  # Redis 6.2 changes no setting while it loads
            server.ask("CONFIG", "SET", "key-load-delay", "0")
        starting.join(60)
        wait_until(lambda: not starting.is_alive())
        assert keys_of(timer.claim()) == ["1"]


def _refuses(server: RedisServer, code: str) -> bool:
    """Return whether the server answers each command with this code."""
    try:
        server.ask("PING")
    except RedisAnswered as error:
        return str(error).startswith(code)
    except OSError:
        pass
    return False


def test_an_old_server_is_refused(redis_server: RedisServer) -> None:
    """For a server with version 6.0 the message names the versions that are needed, by product."""
    major, minor, _ = info(redis_server.port, "server")["redis_version"].split(".")
    found = "Redis 6.0." if redis_server.name == "Redis" else f"Valkey {redis_server.version}"
    with Proxy(redis_server.port) as proxy:
        proxy.alter(f"redis_version:{major}.{minor}.".encode(), b"redis_version:6.0.")
        with (
            open_timer(f"redis://127.0.0.1:{proxy.port}", name="old") as timer,
            pytest.raises(
                TimerRefused, match=rf"{found}\d* is too old: Lapse needs Redis 6\.2 or later, or Valkey 7\.2 or later"
            ),
        ):
            timer.claim()


def test_another_number_of_shards_is_refused(redis_server: RedisServer, timer_name: str) -> None:
    """Another number of shards would look for deadlines in the wrong place. The message names both remedies."""
    timer = open_timer(redis_server.url, name=timer_name)
    timer.arm([Deadline("1", ago(5))])
    timer.close()
    with (
        open_timer(f"{redis_server.url}?shards=4", name=timer_name) as other,
        pytest.raises(TimerRefused, match=r"has 1 shards on this server; add \?shards=1 .* delete lapse:"),
    ):
        other.arm([Deadline("2", ago(5))])
    with open_timer(redis_server.url, name=timer_name) as timer:
        assert keys_of(timer.claim()) == ["1"]
