"""Redis as larger shops run it: a cluster of three masters, and a master with a replica, watched by Sentinel."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lapse.testing.private_server import ServerFailed, wait_until
from lapse.testing.redis_server import RedisServer
from lapse.testing.redis_wire import RedisAnswered

SLOTS = 16_384
READY_WITHIN = 60.0
"""Seconds that several servers may take to agree."""


class RedisCluster:
    """Three masters without replicas, each with a third of the slots. `nodes` are their servers.

    `node_timeout_ms` is after how many milliseconds without an answer a node counts as failed.
    """

    def __init__(self, *, binary: Path | None = None, node_timeout_ms: int = 2000) -> None:
        settings = {"cluster-enabled": "yes", "cluster-node-timeout": str(node_timeout_ms)}
        self.nodes = [RedisServer(binary=binary, config=settings) for _ in range(3)]
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """The address of the first node; a client learns the other addresses from that node."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def node_of(self, slot: int) -> RedisServer:
        """Return the node that serves this slot."""
        return next(node for node, share in zip(self.nodes, self._shares(), strict=True) if slot in share)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node, share in zip(self.nodes, self._shares(), strict=True):
                stack.enter_context(node)
                node.ask("CLUSTER", "ADDSLOTS", *share)
                node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
            _until("the cluster agrees", lambda: all(map(_is_whole, self.nodes)))
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def _shares(self) -> list[range]:
        count = len(self.nodes)
        return [range(SLOTS * part // count, SLOTS * (part + 1) // count) for part in range(count)]


class RedisSentinel:
    """One master, one replica, and an odd number of sentinels that watch the master under the name `service`.

    `down_after_ms` is after how many milliseconds without an answer a sentinel counts the master as failed.
    """

    def __init__(
        self, *, binary: Path | None = None, sentinels: int = 1, service: str = "lapse", down_after_ms: int = 1000
    ) -> None:
        self.service = service
        self._binary = binary
        self._count = sentinels
        self._down_after = down_after_ms
        self.sentinels: list[RedisServer] = []
        self.servers: list[RedisServer] = []
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """The addresses of the sentinels, then the service, then the database."""
        return (
            f"redis+sentinel://{','.join(f'127.0.0.1:{sentinel.port}' for sentinel in self.sentinels)}/{self.service}/0"
        )

    @property
    def master(self) -> RedisServer:
        """The server that is the master now, according to the first sentinel."""
        answer = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        port = answer[1] if isinstance(answer, list) else None
        return next(server for server in self.servers if str(server.port) == port)

    def kill_master(self) -> RedisServer:
        """End the master by SIGKILL, wait until the replica is the master, and return the new master."""
        killed = self.master
        killed.kill()
        _until("the replica is the master", lambda: self.master is not killed and _role(self.master) == "master")
        return self.master

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            master = stack.enter_context(RedisServer(binary=self._binary))
            replica = stack.enter_context(
                RedisServer(binary=self._binary, config={"replicaof": f"127.0.0.1 {master.port}"})
            )
            self.servers = [master, replica]
            _until("the replica follows", lambda: _has_replica(master))
            self.sentinels = [stack.enter_context(self._sentinel(master)) for _ in range(self._count)]
            _until("the sentinels know each other", lambda: all(map(self._knows_all, self.sentinels)))
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def _sentinel(self, master: RedisServer) -> RedisServer:
        majority = self._count // 2 + 1
        watch = {
            f"sentinel monitor {self.service}": f"127.0.0.1 {master.port} {majority}",
            f"sentinel down-after-milliseconds {self.service}": str(self._down_after),
            f"sentinel failover-timeout {self.service}": "5000",
        }
        return RedisServer(binary=self._binary, config=watch, sentinel=True)

    def _knows_all(self, sentinel: RedisServer) -> bool:
        answer = sentinel.ask("SENTINEL", "MASTER", self.service)
        fields = answer if isinstance(answer, list) else []
        known = dict(zip(fields[::2], fields[1::2], strict=True))
        return known["num-slaves"] == "1" and known["num-other-sentinels"] == str(self._count - 1)


def _is_whole(node: RedisServer) -> bool:
    state = str(node.ask("CLUSTER", "INFO"))
    return "cluster_state:ok" in state and "cluster_known_nodes:3" in state


def _role(server: RedisServer) -> str:
    answer = server.ask("ROLE")
    return str(answer[0]) if isinstance(answer, list) else ""


def _has_replica(master: RedisServer) -> bool:
    answer = master.ask("ROLE")
    return isinstance(answer, list) and bool(answer[2])


def _until(what: str, condition: Callable[[], bool]) -> None:
    def holds() -> bool:
        with suppress(OSError, RedisAnswered):
            return condition()
        return False

    if not wait_until(holds, READY_WITHIN):
        raise ServerFailed(f"after {READY_WITHIN:.0f} s still not true: {what}")
