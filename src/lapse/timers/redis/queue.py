"""The delay queue on Redis: sorted sets and one Lua script per command. The default in production."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from lapse.engine.deadline import MILLISECOND, Buried, Claim, Deadline, from_milliseconds, to_milliseconds
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import FRESH_SHARE, LEASE, Finding, Stats, Traits
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker
from lapse.timers.redis.check import Needs, findings
from lapse.timers.redis.generation import Memory
from lapse.timers.redis.listener import Listening, RedisListener
from lapse.timers.redis.permissions import of_the_queue
from lapse.timers.redis.server import Address, Client, Demoted, identity, leave, primaries, script
from lapse.timers.redis.shards import MOST_SHARDS, SCRIPT_MEMBERS, Shards


class RedisQueue:
    """Deadlines in sorted sets, claimed under leases, by the Redis server's clock.

    `shards` spreads one timer over so many hash slots; every process must name the same number, which is checked.
    """

    traits = Traits(
        mechanism="redis_queue",
        durable=True,
        shared=True,
        can_disarm=True,
        transactional=False,
        ordered=True,
        precision=timedelta(milliseconds=1),
    )

    def __init__(self, client: Client, name: str, *, shards: int = 1) -> None:
        self.name = name
        self.traits = replace(type(self).traits, ordered=shards == 1)
        self._client = client
        self._channel = f"lapse:{name}:wake"
        self._shards = Shards(name, shards)
        self._turn = count()
        self._waker = Waker()
        self._lock = threading.Lock()
        self._memory = Memory(client, name, self._shards)
        self._doubts = count(1)
        self._connected = 0  # another number whenever the server may be another: a connection stands, an answer failed
        self._servers = (-1, "")  # what that was when the server was last looked at, and its name
        self._wakes = RedisListener(
            lambda: primaries(self._client)[0], self._channel, lambda *_: self._waker.wake(), self._on_connect
        )

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many at once."""
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
        """Forget many at once."""
        self._ready()
        for shard, part in self._shards.parts(dict.fromkeys(keys)):
            self._run("disarm", shard, part)
            self._disarmed(part)

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Take what is due, or wait for it."""
        self._ready()
        if wait > timedelta(0):
            for listener in self._listeners():
                listener.ensure()
        lease_ms = max(lease // MILLISECOND, 1)
        return claim_when_due(lambda: self._take(limit, lease_ms), self._waker, wait.total_seconds())

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Let the leases run from now again."""
        renewed = []
        for shard, token, part in self._shards.parts_by_token(claims):
            keys = [claim.key for claim in part]
            ends, *kept = self._run("renew", shard, [token, lease // MILLISECOND, *keys])
            leased_until = from_milliseconds(int(ends))
            still = {key.decode() for key in kept}
            renewed += [
                Claim(claim.key, claim.due_at, claim.attempt, claim.token, claim.claimed_at, leased_until)
                for claim in part
                if claim.key in still
            ]
        return renewed

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget what is done."""
        return self._for_held("settle", claims)

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Give back, for after the delay."""
        delay_ms = -(-delay // MILLISECOND)
        return self._for_held("release", claims, delay_ms, int(forgive), self._channel)

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Give up on these."""
        return self._for_held("bury", claims, reason.encode(errors="replace"))

    def buried(self, limit: int = 100) -> list[Buried]:
        """List what was given up on."""
        found: list[Buried] = []
        for shard in self._shards:
            flat = self._buried(shard, limit)
            for key, buried_at, grave in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
                attempt, due, reason = grave.split(b":", 2)
                at = from_milliseconds(int(buried_at))
                text = reason.decode(errors="replace")
                found.append(Buried(key.decode(), from_milliseconds(int(due)), int(attempt), text, at))
        return sorted(found, key=lambda buried: buried.buried_at)[:limit]

    def revive(self, keys: Iterable[str]) -> int:
        """Bring back what was buried, due at once."""
        parts = self._shards.parts(dict.fromkeys(keys))
        return sum(int(self._run("revive", shard, [self._channel, *part])) for shard, part in parts)

    def stats(self) -> Stats:
        """Count. Nothing is written, so that a look at a name that was mistyped leaves nothing under it."""
        if self._servers[0] != self._connected:
            identity(self._client)
            self._memory.look()
        rows = [self._run("stats", shard, []) for shard in self._shards]
        oldest = [int(row[5]) for row in rows if row[5]]
        upcoming = [int(row[6]) for row in rows if row[6]]
        return Stats(
            pending=sum(row[1] for row in rows),
            due=sum(row[2] for row in rows),
            claimed=sum(row[3] for row in rows),
            buried=sum(row[4] for row in rows),
            oldest_due=from_milliseconds(min(oldest)) if oldest else None,
            next_due=from_milliseconds(min(upcoming)) if upcoming else None,
            now=from_milliseconds(max(row[0] for row in rows)),
        )

    def generation(self) -> str:
        """Name the servers' processes and the memory they hold: either changes when deadlines may be lost."""
        return f"{self._ready()}/{'+'.join(self._memory.epochs)}"

    def check(self) -> list[Finding]:
        """Look at what decides whether the server keeps deadlines. Changes nothing."""
        needs = self._needs()
        return [finding for server in primaries(self._client) for finding in findings(server, needs)]

    def wake(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def close(self) -> None:
        """Stop listening and give up the connections."""
        self._waker.interrupt()
        for listener in self._listeners():
            listener.close()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listeners(self) -> Sequence[Listening]:
        return [self._wakes]

    def _needs(self) -> Needs:
        return Needs(commands=of_the_queue(self._shards[0] + "pending", self._channel))

    def _armed(self, due: Mapping[str, int], now: int, *, only_unknown: bool) -> None:
        """Follow up on what the queue has armed, at the server's `now`; both in ms. For mechanisms on top of it."""

    def _disarmed(self, keys: Sequence[str]) -> None:
        """Follow up on what the queue has forgotten."""

    def _take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        """Claim from each shard in turn, another one first each time.

        Where a shard gives no answer, what the others gave is returned: its lease runs. The next turn begins elsewhere.
        """
        claims: list[Claim] = []
        due_in: float | None = None
        first = next(self._turn)
        for step in range(len(self._shards)):
            number = (first + step) % len(self._shards)
            while len(claims) < limit:
                part = min(limit - len(claims), SCRIPT_MEMBERS)
                try:
                    now, look_at, token, ends, epoch, *flat = self._run(
                        "claim", self._shards[number], [part, lease_ms, FRESH_SHARE, uuid4().hex]
                    )
                except TimerUnavailable:
                    if not claims:
                        raise
                    return claims, None
                if self._memory.seen(number, epoch.decode()):
                    self._on_another_memory()
                claims += _claims(now, int(token), int(ends), flat)
                if int(look_at) >= 0:
                    pause = max(int(look_at) - now, 0) / 1000
                    due_in = pause if due_in is None else min(due_in, pause)
                if len(flat) < 3 * part:
                    break
        if len(self._shards) > 1:
            claims.sort(key=lambda claim: claim.due_at)
        return claims, due_in

    def _buried(self, shard: str, limit: int) -> list[bytes]:
        """List a shard's buried, in parts: key, when it was buried and what is known of it, for each."""
        flat: list[bytes] = []
        for start in range(0, limit, SCRIPT_MEMBERS):
            part = self._run("buried", shard, [start, min(limit - start, SCRIPT_MEMBERS)])
            flat += part
            if len(part) < 3 * SCRIPT_MEMBERS:
                break
        return flat

    def _for_held(self, command: str, claims: Sequence[Claim], *settings: bytes | str | int) -> int:
        parts = self._shards.parts_by_token(claims)
        return sum(
            int(self._run(command, shard, [token, *settings, *(claim.key for claim in part)]))
            for shard, token, part in parts
        )

    def _run(self, command: str, shard: str, args: Iterable[bytes | str | int]) -> Any:  # noqa: ANN401 - as the script
        try:
            return script(command).run(self._client, shard, args)
        except TimerUnavailable as error:
            self._connected = next(self._doubts)  # the listener may not notice: its connection can be half open
            if isinstance(error, Demoted) and leave(self._client):
                for listener in self._listeners():
                    listener.reconnect()
            raise

    def _on_another_memory(self) -> None:
        """Let whoever waits look at the generation: what the server had is gone."""
        self._waker.interrupt()

    def _on_connect(self) -> None:
        """Look at the server again before the next command: it may be another process by now."""
        self._connected = next(self._doubts)
        self._waker.wake()

    def _ready(self) -> str:
        """Make sure that the server is fit for this timer. Returns the name of its process."""
        connected, servers = self._servers
        if connected != self._connected:
            with self._lock:
                connected = self._connected
                try:
                    servers = identity(self._client)
                    self._check_server()
                except TimerUnavailable:
                    if not servers or len(self._shards) == 1:
                        raise
                    return servers  # one node may be away: the shards on the others shall go on
                self._servers = (connected, servers)
        return servers

    def _check_server(self) -> None:
        """Raise TimerRefused where the server's state does not fit this timer."""
        self._memory.begin()


def open_from_url(url: str, *, name: str) -> RedisQueue:
    """Open by URL, for example redis://localhost:6379/0?shards=4."""
    address = Address.parse(url, own=("shards",))
    shards = address.option("shards", 1, least=1, most=MOST_SHARDS)
    return RedisQueue(address.connect(), name, shards=shards)


def _claims(now: int, token: int, ends: int, flat: Sequence[bytes]) -> list[Claim]:
    claimed_at, leased_until = from_milliseconds(now), from_milliseconds(ends)
    return [
        Claim(key.decode(), from_milliseconds(int(due)), int(attempt), token, claimed_at, leased_until)
        for key, due, attempt in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
