"""Key expiry events, made punctual and lossless: the delay queue of `queue.py`, plus one expiring key per deadline.

Each deadline is a key that expires at its time, so that Redis sends the event to every subscriber. Each deadline is
also an entry in a ledger, which is the delay queue. Expiry events alone have three faults. This timer removes them:

* *Late*: Redis sends the event when it deletes the key, which may be long after the key's time. A worker claims the
  deadline from the ledger at its time and touches the key. Redis deletes a touched key whose time has come, and sends
  the event at once.
* *Lost*: an event is lost if no subscriber is connected. The ledger keeps the deadline, and workers claim and settle it
  like that of any other timer. The event only wakes workers; one of them claims the deadline.
* *Silent*: without `notify-keyspace-events` Redis sends no events. The timer reads the setting and changes it if
  permitted. If not permitted, the timer refuses to start and names the line to add.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lapse.engine.deadline import Claim
from lapse.engine.errors import TimerUnavailable
from lapse.timers.redis.address import Address
from lapse.timers.redis.check import Needs
from lapse.timers.redis.client import Client, database_number, primaries
from lapse.timers.redis.errors import translated
from lapse.timers.redis.listener import Listening, RedisListener
from lapse.timers.redis.notifications import require_notifications
from lapse.timers.redis.permissions import Command
from lapse.timers.redis.queue import TRAITS as QUEUE_TRAITS
from lapse.timers.redis.queue import RedisQueue

TRAITS = replace(QUEUE_TRAITS, mechanism="redis_expiry")

LINGER = 0.002
"""Seconds after which to touch again a key that had not yet expired when its deadline was claimed."""

TOUCHES = 25
"""The largest number of touches per key. A key that still exists then was set again, to expire later."""

MANY = 1000
"""Commands in one pipeline."""

ANNOUNCED = "Ex"
"""The flags of the needed events: channels named by event (E), expired keys (x)."""


class RedisExpiry(RedisQueue):
    """Deadlines as expiring keys named `prefix` + key, with a ledger beside the keys, by the Redis server's clock."""

    traits = TRAITS

    def __init__(self, client: Client, name: str, *, shards: int = 1, prefix: str = "") -> None:
        super().__init__(client, name, shards=shards)
        self._prefix = prefix or f"lapse:{name}:"
        self._lingering: dict[str, int] = {}  # claimed keys that still existed → how many touches are left
        self._event_listeners: list[RedisListener] = []

    def _needs(self) -> Needs:
        key = self._prefix + "a"
        own: list[Command] = [
            ("SET", key, "", "PX", "1"),
            ("DEL", key),
            ("EXISTS", key),
            ("SUBSCRIBE", f"__keyevent@{database_number(self._client)}__:expired"),
        ]
        return Needs(commands=[*super()._needs().commands, *own], flags=ANNOUNCED, expiring=True)

    def _armed(self, due: Mapping[str, int], now: int, *, only_unknown: bool) -> None:
        self._stop_touching(due)
        with translated():
            pipeline = self._client.pipeline(transaction=False)
            for key, at in due.items():
                # Redis expires a key after its time, not at it. One millisecond less is on time.
                # A time in the past would delete the key with another event than `expired`, so the key expires soon.
                if at - 1 > now:
                    pipeline.set(self._prefix + key, b"", nx=only_unknown, pxat=at - 1)
                else:
                    pipeline.set(self._prefix + key, b"", nx=only_unknown, px=1)
            pipeline.execute()

    def _disarmed(self, keys: Sequence[str]) -> None:
        self._stop_touching(keys)
        with translated():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.delete(self._prefix + key)
            pipeline.execute()

    def _take(self, limit: int, lease_ms: int) -> tuple[list[Claim], float | None]:
        claims, due_in = super()._take(limit, lease_ms)
        touches = self._lingering | dict.fromkeys((self._prefix + claim.key for claim in claims), TOUCHES)
        try:
            remaining = self._touch(list(touches))
            self._lingering = {name: touches[name] - 1 for name in remaining if touches[name] > 1}
        except TimerUnavailable:
            # The claims are already leased, so they are returned. Their keys are touched later.
            self._lingering = touches
        if self._lingering:
            due_in = LINGER if due_in is None else min(due_in, LINGER)
        return claims, due_in

    def _stop_touching(self, keys: Iterable[str]) -> None:
        """Stop touching these keys: a key that was armed or disarmed is no longer the key that was claimed."""
        for key in keys:
            self._lingering.pop(self._prefix + key, None)

    def _touch(self, names: Sequence[str]) -> Iterable[str]:
        """Make Redis delete the keys whose time has come and send their events. Yield the keys that still exist."""
        for start in range(0, len(names), MANY):
            part = names[start : start + MANY]
            with translated():
                pipeline = self._client.pipeline(transaction=False)
                for name in part:
                    pipeline.exists(name)
                found = pipeline.execute()
            yield from (name for name, exists in zip(part, found, strict=True) if exists)

    def _listeners(self) -> Sequence[Listening]:
        """Return the queue's listener, and a listener on every server for the events of its keys."""
        if not self._event_listeners:
            self._event_listeners = [
                RedisListener(
                    lambda number=number: primaries(self._client)[number],  # type: ignore[misc] # a default binds it
                    f"__keyevent@{database_number(self._client)}__:expired",
                    self._on_expired,
                    self._on_connect,
                )
                for number in range(len(primaries(self._client)))
            ]
        return [*super()._listeners(), *self._event_listeners]

    def _on_expired(self, _channel: bytes, name: bytes) -> None:
        if name.startswith(self._prefix.encode()):
            self._waker.wake()

    def _check_server(self) -> None:
        super()._check_server()
        for server in primaries(self._client):
            require_notifications(server, ANNOUNCED)


def open_from_url(url: str, *, name: str) -> RedisExpiry:
    """Return a timer by URL, for example redis+expiry://localhost:6379/0?prefix=nick_."""
    address = Address.parse(url)
    options = address.options
    return RedisExpiry(address.connect(), name, shards=options["shards"], prefix=options.get("prefix", ""))
