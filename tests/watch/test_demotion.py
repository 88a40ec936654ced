"""A primary that becomes a replica behind the same address, on every Redis there is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from lapse import Deadline, Timer, TimerUnavailable, open_timer
from lapse.testing.faults import Proxy
from lapse.testing.servers import RedisServer
from lapse.watch.watched_keys import open_watch
from tests.engine.running import wait_until
from tests.watch.test_watched_keys import due_at

HOUR = timedelta(hours=1)


@dataclass
class Pair:
    """Two servers, of which `first` is the primary at the beginning, and the address that leads to it."""

    first: RedisServer
    second: RedisServer
    address: Proxy

    @property
    def url(self) -> str:
        """The address."""
        return f"redis://127.0.0.1:{self.address.port}/0?socket_timeout=2"

    def fail_over(self) -> None:
        """Let the two change places. Connections to the first stay open."""
        follow(self.second, self.first)
        self.second.ask("REPLICAOF", "NO", "ONE")
        follow(self.first, self.second)


def follow(replica: RedisServer, primary: RedisServer) -> None:
    """Make it a replica, and wait until it has everything."""
    replica.ask("REPLICAOF", "127.0.0.1", primary.port)
    wait_until(lambda: "master_link_status:up" in str(replica.ask("INFO", "replication")))


@pytest.fixture
def pair(redis_binary: Path) -> Iterator[Pair]:
    """Start two servers of each Redis and Valkey in turn."""
    config = {"notify-keyspace-events": "AKE", "repl-diskless-sync-delay": "0"}
    with (
        RedisServer(binary=redis_binary, config=config) as first,
        RedisServer(binary=redis_binary, config=config) as second,
        Proxy(first.port) as address,
    ):
        yield Pair(first, second, address)


@contextmanager
def claiming(timer: Timer) -> Iterator[list[str]]:
    """Claim and settle beside the test, through every failure."""
    fired: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                claims = timer.claim(100, wait=timedelta(seconds=1))
                timer.settle(claims)
                fired.extend(claim.key for claim in claims)
            except TimerUnavailable:
                stop.wait(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield fired
    finally:
        stop.set()
        timer.wake()
        thread.join(60)
        assert not thread.is_alive()


def listeners(server: RedisServer) -> int:
    """How many connections of the server only listen."""
    return str(server.ask("CLIENT", "LIST", "TYPE", "pubsub")).count("id=")


@pytest.mark.parametrize("scheme", ["redis", "redis+expiry"])
def test_a_timer_follows_its_address(pair: Pair, scheme: str) -> None:
    """Once the address leads to the new primary, calls and listeners go there, although the old one still answers."""
    url = pair.url.replace("redis", scheme, 1)
    # A timer object of the shop, and one of the worker: a claim of the worker closes no connection of the shop.
    with open_timer(url, name="orders") as shop, open_timer(url, name="orders") as worker, claiming(worker) as fired:
        shop.arm([Deadline("old", datetime.now(UTC) + HOUR)])
        expected = 2 if scheme == "redis+expiry" else 1
        wait_until(lambda: listeners(pair.first) == expected)
        pair.fail_over()
        pair.address._server_port = pair.second.port
        with pytest.raises(TimerUnavailable, match="the server is read only: it is a replica"):
            shop.arm([Deadline("old", datetime.now(UTC) + HOUR)])
        shop.arm([Deadline("new", datetime.now(UTC))])
        wait_until(lambda: (listeners(pair.first), listeners(pair.second)) == (0, expected))
        wait_until(lambda: fired == ["new"])
        assert shop.stats().pending == worker.stats().pending == 1


def test_what_a_replica_calls_deleted_still_fires(pair: Pair) -> None:
    """A key that expires while its server is a replica is announced as deleted; its order is not forgotten for that."""
    with (
        open_watch(pair.url, prefix="nick_", hooks=()) as timer,
        claiming(timer) as fired,
        redis.Redis.from_url(pair.second.url) as primary,
    ):
        pair.first.ask("SETEX", "nick_1", 1000, "x")
        pair.first.ask("SETEX", "nick_2", 1000, "x")
        wait_until(lambda: set(due_at(pair.first, "nick_")) == {"1", "2"})
        pair.fail_over()
        primary.pexpire("nick_1", 50)
        wait_until(lambda: not primary.exists("nick_1") and not pair.first.ask("EXISTS", "nick_1"))
        # The event is received by now, and about to be learnt; the ledger says that the key is due in 15 minutes.
        threading.Event().wait(1)
        primary.zadd("lapse:{watch.nick_:0}:pending", {"1": 1})
        wait_until(lambda: due_at(pair.first, "nick_").get("1") == 1)
        pair.first.ask("REPLICAOF", "NO", "ONE")
        wait_until(lambda: fired == ["1"])
        assert set(due_at(pair.first, "nick_")) == {"2"}
