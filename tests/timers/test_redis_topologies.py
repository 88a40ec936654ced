"""The delay queue on a cluster of three nodes, and behind Sentinel through a failover."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from lapse import Claim, Deadline, Event, Kind, Timer, TimerUnavailable, Worker, open_timer
from lapse.testing.conformance import LONG, TimerConformance, ago, ahead, keys_of, wait_until
from lapse.testing.redis_wire import RedisAnswered
from lapse.testing.servers import RedisCluster, RedisSentinel, RedisServer
from tests.engine.running import unfinished

SHARDS = 8
NODE_TIMEOUT_MS = 3000
"""A node that is silent for so long has failed. On a busy machine a healthy node is silent for more than a second."""
REPLICA = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": str(NODE_TIMEOUT_MS),
    # Else a replica whose last word from its master is old, as on a busy machine, never asks to be elected.
    "cluster-replica-validity-factor": "0",
}


@pytest.fixture(scope="module")
def cluster(redis_binary: Path) -> Iterator[RedisCluster]:
    """Start three masters, none of which counts as failed while the machine is busy."""
    with RedisCluster(binary=redis_binary, node_timeout_ms=15_000) as cluster:
        yield cluster


@contextmanager
def working(timer: Timer, rearm: Callable[[], int] | None = None) -> Iterator[tuple[list[Claim], list[Event]]]:
    """Run a worker in a thread. Yield the claims it handles and the events it reports."""
    claims: list[Claim] = []
    events: list[Event] = []
    worker = Worker(timer, claims.extend, rearm=rearm, lease=timedelta(seconds=2), hooks=[events.append])
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield claims, events
    finally:
        worker.stop()
        thread.join()


class TestCluster(TimerConformance):
    @pytest.fixture
    def handles(self, cluster: RedisCluster, timer_name: str) -> Callable[[], Timer]:
        """Open a timer with shards on every node of the cluster."""
        return lambda: open_timer(f"{cluster.url}?shards={SHARDS}", name=timer_name)


def test_every_node_takes_part(cluster: RedisCluster, timer_name: str) -> None:
    """The shards are on all nodes, and a worker claims from each of them, on time and once."""
    with open_timer(f"{cluster.url}?shards={SHARDS}", name=timer_name) as timer:
        timer.arm([Deadline(str(number), ahead(LONG)) for number in range(200)])
        for node in cluster.nodes:
            names = node.ask("KEYS", f"lapse:{{{timer_name}:*}}:pending")
            assert isinstance(names, list)
            assert names
        timer.arm([Deadline(str(number), ahead(timedelta(seconds=0.3))) for number in range(200)])
        with working(timer) as (claims, _):
            wait_until(lambda: len(claims) >= 200)
            wait_until(lambda: timer.stats().claimed == 0)
        assert sorted(keys_of(claims), key=int) == [str(number) for number in range(200)]
        assert min(claim.late_by for claim in claims) >= timedelta(0)


def test_a_slot_that_moves(cluster: RedisCluster, timer_name: str) -> None:
    """While one shard's slot moves to another node, the others go on. Then its commands and scripts go to that node."""
    with open_timer(f"{cluster.url}?shards={SHARDS}", name=timer_name) as timer:
        timer.arm([Deadline(str(number), ago(5)) for number in range(100)])
        slot = cluster.nodes[0].ask("CLUSTER", "KEYSLOT", f"{{{timer_name}:3}}")
        assert isinstance(slot, int)
        source = cluster.node_of(slot)
        target = next(node for node in cluster.nodes if node is not source)
        ids = {node: str(node.ask("CLUSTER", "MYID")) for node in cluster.nodes}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        names = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
        assert isinstance(names, list)
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *[str(name) for name in names])
        # During the move Redis answers TRYAGAIN to scripts, because some of their keys are on neither node.
        claims = [claim for _ in range(SHARDS) for claim in claimed(timer)]
        assert 0 < len(claims) < 100
        for node in (target, source, *cluster.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        claims += timer.claim(lease=LONG)
        assert len(set(keys_of(claims))) == 100
        assert timer.settle(claims) == 100


def claimed(timer: Timer) -> list[Claim]:
    """Return the claims on all due deadlines."""
    try:
        return timer.claim(10, lease=LONG)
    except TimerUnavailable:
        return []


@pytest.mark.parametrize("shards", [pytest.param(1, marks=pytest.mark.long), SHARDS])
def test_a_node_that_fails_over(redis_binary: Path, timer_name: str, shards: int) -> None:
    """After a replica has replaced its master, the client finds the new one. The worker arms again and goes on."""
    with (
        RedisCluster(binary=redis_binary, node_timeout_ms=NODE_TIMEOUT_MS) as cluster,
        RedisServer(binary=redis_binary, config=REPLICA) as replica,
    ):
        slot = cluster.nodes[0].ask("CLUSTER", "KEYSLOT", f"{{{timer_name}:0}}")
        assert isinstance(slot, int)
        doomed = cluster.node_of(slot)
        replica.ask("CLUSTER", "MEET", "127.0.0.1", doomed.port)
        wait_until(lambda: _replicates(replica, doomed))
        wait_until(lambda: "master_link_status:up" in str(replica.ask("INFO", "replication")))
        wait_until(lambda: all(_knows(node, replica) for node in cluster.nodes))
        calls: list[int] = []
        unpaid = {str(number) for number in range(100)}

        with open_timer(f"{cluster.url}?shards={shards}", name=timer_name) as timer:

            def rearm() -> int:
                timer.arm([Deadline(key, ago(5)) for key in unpaid], only_unknown=True)
                calls.append(1)
                return len(unpaid)

            with working(timer, rearm) as (claims, events):
                wait_until(lambda: set(keys_of(claims)) == unpaid)
                doomed.kill()
                while replica.ask("ROLE")[0] != "master":  # type: ignore[index] # it is a list
                    time.sleep(
                        0.05
                    )  # on a busy machine masters vote too late, and the election begins again after 12 s
                unpaid |= {f"later {number}" for number in range(100)}
                wait_until(lambda: len(calls) >= 2)
                wait_until(lambda: set(keys_of(claims)) == unpaid)
                wait_until(lambda: not unfinished(timer))
            assert Kind.TIMER_LOST in [event.kind for event in events]


def _replicates(replica: RedisServer, master: RedisServer) -> bool:
    """Make a server a replica, once it knows the master. Return whether it is one."""
    try:
        return replica.ask("CLUSTER", "REPLICATE", str(master.ask("CLUSTER", "MYID"))) == "OK"
    except RedisAnswered:
        return False


def _knows(node: RedisServer, replica: RedisServer) -> bool:
    lines = str(node.ask("CLUSTER", "NODES")).splitlines()
    return any(f":{replica.port}@" in line and "slave" in line for line in lines)


def test_a_failover_by_sentinel(redis_binary: Path) -> None:
    """The master dies with data that its replica lacks. The worker reports it once, arms again, and all fire."""
    with RedisSentinel(binary=redis_binary) as watched, open_timer(watched.url, name="orders") as timer:
        unpaid = {f"old {number}" for number in range(50)}
        calls: list[int] = []

        def rearm() -> int:
            timer.arm([Deadline(key, ahead(timedelta(seconds=0.2))) for key in unpaid], only_unknown=True)
            calls.append(1)
            return len(unpaid)

        with working(timer, rearm) as (claims, events):
            wait_until(lambda: set(keys_of(claims)) == unpaid and len(calls) == 1)
            young = {f"young {number}" for number in range(50)}
            replica = next(server for server in watched.servers if server is not watched.master)
            replica.ask("REPLICAOF", "127.0.0.1", 1)  # it receives nothing of the following changes
            timer.arm([Deadline(key, ahead(LONG)) for key in young])
            unpaid |= young
            watched.kill_master()
            wait_until(lambda: len(calls) == 2)
            wait_until(lambda: young <= set(keys_of(claims)))
            wait_until(lambda: timer.stats().claimed == 0)
            said = [event.kind for event in events if event.kind in (Kind.TIMER_LOST, Kind.TIMER_BACK)]
        assert said == [Kind.TIMER_LOST, Kind.TIMER_BACK]


def test_a_cluster_that_is_not_there(redis_binary: Path) -> None:
    """The client reads the slots when it is created. Its failure is raised as the timer's own error."""
    with RedisServer(binary=redis_binary) as server:
        port = server.port
    with pytest.raises(TimerUnavailable):
        open_timer(f"redis+cluster://127.0.0.1:{port}", name="orders")
