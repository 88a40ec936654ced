"""Key expiry events, made punctual and lossless.

Each deadline is a key that expires at its time, so that Redis announces it to any subscriber, and an entry in a
ledger, which is the delay queue. The three faults of the bare mechanism and what is done about them:

* *Late*: Redis sends the event when it deletes the key, which may be long after the key's time. A worker claims from
  the ledger at the very time and touches the key, and a touched key whose time has come is deleted, and announced, at
  once.
* *Lost*: an event that nobody hears is gone. The ledger is not, and it is claimed and settled like any other timer.
  The event is a wake-up and no more; however many listen, one claims.
* *Silent*: without `notify-keyspace-events` nothing is announced. It is looked up, set where that is permitted, and
  refused with the line to add where not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lapse.engine.deadline import Claim
from lapse.engine.errors import TimerUnavailable
from lapse.timers.redis.check import Needs
from lapse.timers.redis.listener import Listening, RedisListener
from lapse.timers.redis.notifications import require_notifications
from lapse.timers.redis.permissions import Command
from lapse.timers.redis.queue import RedisQueue
from lapse.timers.redis.server import Address, Client, database, primaries, translated
from lapse.timers.redis.shards import MOST_SHARDS

LINGER = 0.002
"""Seconds after which to touch again a key that had not yet expired when its deadline was claimed."""

TOUCHES = 25
"""How often a key is touched. One that is still there then is another key: somebody has set it to expire later."""

MANY = 1000
"""Commands in one pipeline."""

ANNOUNCED = "Ex"
"""What must be announced: events under their own names (E), of expired keys (x)."""


class RedisExpiry(RedisQueue):
    """Deadlines as expiring keys named `prefix` + key, with a ledger beside them, by the Redis server's clock."""

    traits = replace(RedisQueue.traits, mechanism="redis_expiry")

    def __init__(self, client: Client, name: str, *, shards: int = 1, prefix: str = "") -> None:
        super().__init__(client, name, shards=shards)
        self._prefix = prefix or f"lapse:{name}:"
        self._lingering: dict[str, int] = {}  # keys that were claimed and still there, and how often to touch each yet
        self._events: list[RedisListener] = []

    def _needs(self) -> Needs:
        key = self._prefix + "a"
        own: list[Command] = [
            ("SET", key, "", "PX", "1"),
            ("DEL", key),
            ("EXISTS", key),
            ("SUBSCRIBE", f"__keyevent@{database(self._client)}__:expired"),
        ]
        return Needs(commands=[*super()._needs().commands, *own], flags=ANNOUNCED, expiring=True)

    def _armed(self, due: Mapping[str, int], now: int, *, only_unknown: bool) -> None:
        self._let_go(due)
        with translated():
            pipeline = self._client.pipeline(transaction=False)
            for key, at in due.items():
                # Redis expires a key once its clock is past the time, not at it: one millisecond less is on time.
                # A time in the past would delete the key with another event than `expired`, so that one is soon.
                if at - 1 > now:
                    pipeline.set(self._prefix + key, b"", nx=only_unknown, pxat=at - 1)
                else:
                    pipeline.set(self._prefix + key, b"", nx=only_unknown, px=1)
            pipeline.execute()

    def _disarmed(self, keys: Sequence[str]) -> None:
        self._let_go(keys)
        with translated():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.delete(self._prefix + key)
            pipeline.execute()

    def _take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        claims, due_in = super()._take(limit, lease_ms)
        touches = self._lingering | dict.fromkeys((self._prefix + claim.key for claim in claims), TOUCHES)
        try:
            alive = self._touch(list(touches))
            self._lingering = {name: touches[name] - 1 for name in alive if touches[name] > 1}
        except TimerUnavailable:
            # The claims are leased by now, so they are returned; their keys are touched later.
            self._lingering = touches
        if self._lingering:
            due_in = LINGER if due_in is None else min(due_in, LINGER)
        return claims, due_in

    def _let_go(self, keys: Iterable[str]) -> None:
        """Touch these keys no more: they are not those that were claimed."""
        for key in keys:
            self._lingering.pop(self._prefix + key, None)

    def _touch(self, names: Sequence[str]) -> Iterable[str]:
        """Make Redis notice that these keys' time has come, and announce it. Returns those that are still there."""
        for start in range(0, len(names), MANY):
            part = names[start : start + MANY]
            with translated():
                pipeline = self._client.pipeline(transaction=False)
                for name in part:
                    pipeline.exists(name)
                alive = pipeline.execute()
            yield from (name for name, still in zip(part, alive, strict=True) if still)

    def _listeners(self) -> Sequence[Listening]:
        """Listen to the wake-ups of the queue, and on every server to the events of its keys."""
        if not self._events:
            self._events = [
                RedisListener(
                    lambda number=number: primaries(self._client)[number],  # type: ignore[misc] # a default binds it
                    f"__keyevent@{database(self._client)}__:expired",
                    self._on_expired,
                    self._on_connect,
                )
                for number in range(len(primaries(self._client)))
            ]
        return [*super()._listeners(), *self._events]

    def _on_expired(self, _channel: bytes, name: bytes) -> None:
        if name.startswith(self._prefix.encode()):
            self._waker.wake()

    def _check_server(self) -> None:
        super()._check_server()
        for server in primaries(self._client):
            require_notifications(server, ANNOUNCED)


def open_from_url(url: str, *, name: str) -> RedisExpiry:
    """Open by URL, for example redis+expiry://localhost:6379/0?prefix=nick_."""
    address = Address.parse(url, own=("shards", "prefix"))
    shards = address.option("shards", 1, least=1, most=MOST_SHARDS)
    return RedisExpiry(address.connect(), name, shards=shards, prefix=address.options.get("prefix", ""))
