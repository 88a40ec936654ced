"""The claims of this process: unacknowledged deliveries, each under a lease by the process's monotonic clock."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim, from_milliseconds
from lapse.timers.rabbitmq.messages import Message, Received

LEASE_MARGIN = 0.001
"""Seconds added to every lease, because the two clocks round differently."""


@dataclass(slots=True)
class Held:
    """A claim, the message it was made from, the tags of its deliveries, and when its lease ends."""

    claim: Claim
    message: Message
    tags: list[int]
    ends: float


class Leases:
    """The claims of one connection. If the connection is lost, the broker gives their messages to other consumers.

    `requeue` is called with the delivery tags of claims whose lease has ended. `call_later(seconds, function)` calls
    the function later. Both run in the connection's thread.
    """

    def __init__(
        self, call_later: Callable[[float, Callable[[], None]], None], requeue: Callable[[list[int]], None]
    ) -> None:
        self._call_later = call_later
        self._requeue = requeue
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], Held] = {}

    def __len__(self) -> int:
        """Return how many claims are held."""
        with self._lock:
            return len(self._held)

    def hold(self, copies: Mapping[str, Sequence[Received]], lease: timedelta, now: datetime) -> list[Claim]:
        """Hold and return one claim per key, for all copies of the key. The copy armed last sets the deadline."""
        leased_until = now + lease
        ends = SYSTEM_CLOCK.monotonic() + lease.total_seconds() + LEASE_MARGIN
        claims = []
        with self._lock:
            for key, received in copies.items():
                messages = [copy.counted for copy in received]
                last = max(messages, key=lambda message: message.armed)
                attempt = max(message.attempts for message in messages) + 1
                token = max(message.token for message in messages) + 1
                claim = Claim(key, from_milliseconds(last.due), attempt, token, now, leased_until)
                self._held[key, token] = Held(claim, last, [copy.tag for copy in received], ends)
                claims.append(claim)
        self._call_later(lease.total_seconds() + LEASE_MARGIN, self._end)
        return sorted(claims, key=lambda claim: claim.due_at)

    def renew(self, claims: Iterable[Claim], lease: timedelta) -> list[Claim]:
        """Restart the leases of the claims that are still held, and return those claims, renewed."""
        leased_until = SYSTEM_CLOCK.now() + lease
        now = SYSTEM_CLOCK.monotonic()
        renewed = []
        with self._lock:
            for claim in claims:
                held = self._held.get((claim.key, claim.token))
                if held is not None and held.ends > now:
                    held.ends = now + lease.total_seconds() + LEASE_MARGIN
                    held.claim = replace(held.claim, leased_until=leased_until)
                    renewed.append(held.claim)
        if renewed:
            self._call_later(lease.total_seconds() + LEASE_MARGIN, self._end)
        return renewed

    def take(self, claims: Iterable[Claim]) -> list[Held]:
        """Remove and return the claims that are still held. The caller must acknowledge or requeue their deliveries."""
        now = SYSTEM_CLOCK.monotonic()
        with self._lock:
            wanted = dict.fromkeys((claim.key, claim.token) for claim in claims)
            found = [self._held.get(key_and_token) for key_and_token in wanted]
            taken = [held for held in found if held is not None and held.ends > now]
            self._remove(taken)
        return taken

    def take_keys(self, keys: Iterable[str]) -> list[Held]:
        """Remove and return every claim on these keys. The caller must acknowledge or requeue their deliveries."""
        wanted = set(keys)
        with self._lock:
            taken = [held for (key, _), held in self._held.items() if key in wanted]
            self._remove(taken)
        return taken

    def keys(self) -> set[str]:
        """Return the keys of all held claims."""
        with self._lock:
            return {key for key, _ in self._held}

    def _end(self) -> None:
        """Requeue the claims that were not renewed in time. Runs in the connection's thread."""
        now = SYSTEM_CLOCK.monotonic()
        with self._lock:
            ended = [held for held in self._held.values() if held.ends <= now]
            self._remove(ended)
        if ended:
            self._requeue([tag for held in ended for tag in held.tags])

    def _remove(self, claims: Iterable[Held]) -> None:
        for held in claims:
            del self._held[held.claim.key, held.claim.token]
