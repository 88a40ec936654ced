"""The delay queue on Redis: sorted sets and one Lua script per command. The default in production."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any, Self

from lapse.engine.deadline import MILLISECOND, Buried, Claim, Deadline, from_milliseconds, to_milliseconds
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import LEASE, Finding, Stats, TimerNames, Traits
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker
from lapse.timers.redis.address import Address
from lapse.timers.redis.buried import list_buried
from lapse.timers.redis.check import Needs, findings
from lapse.timers.redis.claiming import Claiming
from lapse.timers.redis.client import Client, close_idle, primaries
from lapse.timers.redis.errors import Demoted, first_contact
from lapse.timers.redis.generation import ShardGenerations, require_master, server_generation
from lapse.timers.redis.listener import Listening, RedisListener
from lapse.timers.redis.names import timer_names
from lapse.timers.redis.permissions import queue_commands
from lapse.timers.redis.scripts import PRELUDE_PACKAGE, Arguments, script
from lapse.timers.redis.shards import Shards

TRAITS = Traits(
    mechanism="redis_queue",
    durable=True,
    shared=True,
    can_disarm=True,
    transactional=False,
    ordered=True,
    precision=timedelta(milliseconds=1),
)


class RedisQueue:
    """Deadlines in sorted sets, claimed under leases, by the Redis server's clock.

    `shards` is the number of hash slots that one timer uses. Every process must use the same number, which is checked.

    Other timers build on this class: expiring keys (`expiry.py`) and the shop's own keys (`lapse.watch`). They extend
    the methods from `_listeners` to `_on_connect`.
    """

    traits = TRAITS

    def __init__(self, client: Client, name: str, *, shards: int = 1) -> None:
        self.name = name
        self.traits = replace(type(self).traits, ordered=shards == 1)
        self._client = client
        self._channel = f"lapse:{name}:wake"
        self._shards = Shards(name, shards)
        self._waker = Waker()
        self._lock = threading.Lock()
        self._generations = ShardGenerations(client, name, self._shards)
        self._claiming = Claiming(self._run, self._shards, self._generations, self._on_new_generation)
        self._doubts = count(1)
        self._doubt = 0  # changes whenever the server may be another process: after a new subscription or a failed call
        self._checked = (-1, "")  # the doubt at which the server was last checked, and the server's generation then
        self._wake_listener = RedisListener(
            lambda: primaries(self._client)[0], self._channel, lambda *_: self._waker.wake(), self._on_connect
        )

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many deadlines at once."""
        self._ready()
        command = "restore" if only_unknown else "arm"
        latest = {deadline.key: to_milliseconds(deadline.due_at) for deadline in deadlines}
        for shard, part in self._shards.parts(latest):
            args: list[bytes | str | int] = [self._channel]
            for key in part:
                args += (latest[key], key)
            now = int(self._run(command, shard, args))
            self._armed({key: latest[key] for key in part}, now, only_unknown=only_unknown)

    def disarm(self, keys: Iterable[str]) -> None:
        """Forget many keys at once."""
        self._ready()
        for shard, part in self._shards.parts(dict.fromkeys(keys)):
            self._run("disarm", shard, part)
            self._disarmed(part)

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Return claims on due deadlines. If none is due, wait until one is."""
        self._ready()
        if wait > timedelta(0):
            for listener in self._listeners():
                listener.ensure()
        lease_ms = max(lease // MILLISECOND, 1)
        return claim_when_due(lambda: self._take(limit, lease_ms), self._waker, wait.total_seconds())

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Restart the leases now. Return the renewed claims, without those whose lease had already ended."""
        renewed = []
        for shard, token, part in self._shards.parts_by_token(claims):
            keys = [claim.key for claim in part]
            ends, *held = self._run("renew", shard, [token, lease // MILLISECOND, *keys])
            leased_until = from_milliseconds(int(ends))
            held_keys = {key.decode() for key in held}
            renewed += [replace(claim, leased_until=leased_until) for claim in part if claim.key in held_keys]
        return renewed

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget the deadlines of these claims. Return how many claims were still held."""
        return self._run_for_claims("settle", claims)

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Make these deadlines pending again, after the delay. Return how many claims were still held."""
        delay_ms = -(-delay // MILLISECOND)
        return self._run_for_claims("release", claims, delay_ms, int(forgive), self._channel)

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Bury these deadlines. Return how many claims were still held."""
        return self._run_for_claims("bury", claims, reason.encode(errors="replace"))

    def buried(self, limit: int = 100) -> list[Buried]:
        """Return the buried deadlines, the longest buried first."""
        return list_buried(self._run, self._shards, limit)

    def revive(self, keys: Iterable[str]) -> int:
        """Make buried deadlines pending and due at once. Return how many were buried."""
        parts = self._shards.parts(dict.fromkeys(keys))
        return sum(int(self._run("revive", shard, [self._channel, *part])) for shard, part in parts)

    def stats(self) -> Stats:
        """Return the counts. This writes nothing, so a mistyped timer name leaves no keys on the server."""
        if self._checked[0] != self._doubt:
            server_generation(self._client)
            self._generations.check()
        rows = [self._run("stats", shard, []) for shard in self._shards]
        # Redis writes scores beyond 10¹⁷ ms like 9.1e+18.
        oldest = [int(float(row[5])) for row in rows if row[5]]
        upcoming = [int(float(row[6])) for row in rows if row[6]]
        return Stats(
            pending=sum(row[1] for row in rows),
            due=sum(row[2] for row in rows),
            claimed=sum(row[3] for row in rows),
            buried=sum(row[4] for row in rows),
            oldest_due=from_milliseconds(min(oldest)) if oldest else None,
            next_due=from_milliseconds(min(upcoming)) if upcoming else None,
            now=from_milliseconds(max(row[0] for row in rows)),
        )

    def names(self) -> TimerNames:
        """Return whether this timer has stored anything on the server, and if not, which others have. Read-only."""
        return timer_names(self._client, self._shards)

    def generation(self) -> str:
        """Return a name for the servers' processes and data, which changes when deadlines may be lost."""
        return f"{self._ready()}/{'+'.join(self._generations.last_seen)}"

    def check(self) -> list[Finding]:
        """Return findings on whether the server keeps deadlines. Changes nothing."""
        needs = self._needs()
        with first_contact():
            return [finding for server in primaries(self._client) for finding in findings(server, needs)]

    def wake(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def close(self) -> None:
        """Stop listening and close the connections."""
        self._waker.interrupt()
        for listener in self._listeners():
            listener.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listeners(self) -> Sequence[Listening]:
        return [self._wake_listener]

    def _needs(self) -> Needs:
        return Needs(commands=queue_commands(self._shards[0] + "pending", self._channel))

    def _armed(self, due: Mapping[str, int], now: int, *, only_unknown: bool) -> None:
        """Do further work after the queue has armed deadlines at the server's `now`. Times are ms since 1970."""

    def _disarmed(self, keys: Sequence[str]) -> None:
        """Do further work after the queue has disarmed these keys."""

    def _take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        """Return up to `limit` claims, and the seconds until the next look; None if no deadline is known."""
        return self._claiming.take(limit, lease_ms)

    def _check_server(self) -> None:
        """Raise TimerRefused if the server's state does not fit this timer."""
        self._generations.begin()

    def _on_new_generation(self) -> None:
        """End the wait of a claim, so that the worker compares the generation: the server has lost its data."""
        self._waker.interrupt()

    def _on_connect(self) -> None:
        """Check the server before the next command: it may be another process now."""
        self._doubt = next(self._doubts)
        self._waker.wake()

    def _ready(self) -> str:
        """Check that the server fits this timer. Return the server's generation."""
        doubt, generation = self._checked
        if doubt != self._doubt:
            with self._lock:
                doubt = self._doubt
                try:
                    with first_contact() if not generation else nullcontext():
                        generation_now = server_generation(self._client)
                    require_master(self._client)
                    self._check_server()
                    generation = generation_now
                except Demoted:
                    self._connect_again()
                    raise
                except TimerUnavailable:
                    if not generation or len(self._shards) == 1:
                        raise
                    return generation  # one node may be unavailable: the shards on the other nodes must go on
                self._checked = (doubt, generation)
        return generation

    def _run_for_claims(self, command: str, claims: Sequence[Claim], *settings: bytes | str | int) -> int:
        parts = self._shards.parts_by_token(claims)
        return sum(
            int(self._run(command, shard, [token, *settings, *(claim.key for claim in part)]))
            for shard, token, part in parts
        )

    def _run(self, command: str, shard: str, args: Arguments, *, package: str = PRELUDE_PACKAGE) -> Any:  # noqa: ANN401 - as the script
        """Run a script of a package with the keys of a shard, and return its output."""
        try:
            return script(command, package).run(self._client, shard, args)
        except TimerUnavailable as error:
            self._doubt = next(self._doubts)  # the listener may not notice: its connection can be half open
            if isinstance(error, Demoted):
                self._connect_again()
            raise

    def _connect_again(self) -> None:
        """Connect by the server's host name again, which may lead to the new master by now."""
        if close_idle(self._client):
            for listener in self._listeners():
                listener.reconnect()


def open_from_url(url: str, *, name: str) -> RedisQueue:
    """Return a timer by URL, for example redis://localhost:6379/0?shards=4."""
    address = Address.parse(url)
    return RedisQueue(address.connect(), name, shards=address.options["shards"])
