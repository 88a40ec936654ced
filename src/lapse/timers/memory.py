"""The reference implementation: the contract in its plainest form, for one process, and the double for tests."""

import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import uuid4

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.deadline import (
    EPOCH,
    MILLISECOND,
    Buried,
    Claim,
    Deadline,
    from_milliseconds,
    to_milliseconds,
)
from lapse.engine.errors import ConfigError
from lapse.engine.timer import FRESH_SHARE, LEASE, Finding, Stats, Traits
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker

SORT_FROM = 64
"""From so many at once, sorting the whole list again is cheaper than inserting each."""


@dataclass(slots=True)
class _Entry:
    due: int
    """The armed time, in milliseconds since 1970."""
    visible: int
    """When it may be handed out: the armed time, or that of the next try."""
    attempt: int = 0
    claim: Claim | None = None
    buried: Buried | None = None


class MemoryTimer:
    """A timer in this process's memory, by `clock`. It forgets everything when the process ends."""

    traits = Traits(
        mechanism="memory",
        durable=False,
        shared=False,
        can_disarm=True,
        transactional=False,
        ordered=True,
        precision=timedelta(milliseconds=1),
        clock="host",
    )

    def __init__(self, name: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._pending: list[tuple[int, str]] = []  # (visible, key) in order, for just the pending entries
        self._claimed: dict[str, Claim] = {}
        self._token = 0
        self._generation = uuid4().hex
        self._waker = Waker()

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many at once."""
        latest = {deadline.key: to_milliseconds(deadline.due_at) for deadline in deadlines}
        with self._lock:
            if only_unknown:
                latest = {key: due for key, due in latest.items() if key not in self._entries}
            for key in latest:
                self._forget(key)
            for key, due in latest.items():
                self._entries[key] = _Entry(due, due)
            self._add_pending([(due, key) for key, due in latest.items()])
        self._waker.wake()

    def disarm(self, keys: Iterable[str]) -> None:
        """Forget many at once."""
        with self._lock:
            for key in keys:
                self._forget(key)

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Take what is due, or wait for it."""
        return claim_when_due(lambda: self._take(limit, lease), self._waker, wait.total_seconds(), self._clock)

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Let the leases run from now again."""
        with self._lock:
            self._end_leases()
            now = self._now()
            renewed = []
            for claim in self._held(claims):
                longer = Claim(
                    claim.key,
                    claim.due_at,
                    claim.attempt,
                    claim.token,
                    claim.claimed_at,
                    from_milliseconds(now) + lease,
                )
                self._claimed[claim.key] = self._entries[claim.key].claim = longer
                renewed.append(longer)
            return renewed

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget what is done."""
        with self._lock:
            self._end_leases()
            held = self._held(claims)
            for claim in held:
                self._forget(claim.key)
            return len(held)

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Give back, for after the delay."""
        with self._lock:
            self._end_leases()
            held = self._held(claims)
            later = to_milliseconds(from_milliseconds(self._now()) + delay)
            for claim in held:
                self._make_pending(claim.key, later if delay else claim_due(claim), forgive=forgive)
        self._waker.wake()
        return len(held)

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Give up on these."""
        with self._lock:
            self._end_leases()
            held = self._held(claims)
            now = from_milliseconds(self._now())
            for claim in held:
                entry = self._entries[claim.key]
                entry.claim = None
                entry.buried = Buried(claim.key, claim.due_at, claim.attempt, reason, now)
                del self._claimed[claim.key]
            return len(held)

    def buried(self, limit: int = 100) -> list[Buried]:
        """List what was given up on."""
        with self._lock:
            all_buried = [entry.buried for entry in self._entries.values() if entry.buried is not None]
        return sorted(all_buried, key=lambda buried: buried.buried_at)[:limit]

    def revive(self, keys: Iterable[str]) -> int:
        """Bring back what was buried, due at once."""
        revived = 0
        with self._lock:
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None and entry.buried is not None:
                    entry.buried, entry.attempt = None, 0
                    entry.visible = min(entry.due, self._now())
                    self._add_pending([(entry.visible, key)])
                    revived += 1
        self._waker.wake()
        return revived

    def stats(self) -> Stats:
        """Count."""
        with self._lock:
            self._end_leases()
            now = self._now()
            due = bisect_left(self._pending, (now + 1, ""))
            return Stats(
                pending=len(self._pending),
                due=due,
                claimed=len(self._claimed),
                buried=len(self._entries) - len(self._pending) - len(self._claimed),
                oldest_due=from_milliseconds(self._pending[0][0]) if due else None,
                next_due=from_milliseconds(self._pending[due][0]) if due < len(self._pending) else None,
                now=from_milliseconds(now),
            )

    def generation(self) -> str:
        """Never changes: what this memory loses, it loses with the worker."""
        return self._generation

    def check(self) -> list[Finding]:
        """Nothing to look at but what it is."""
        return [Finding(fit=True, text="kept in this process: it forgets everything when the process ends")]

    def wake(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, limit: int, lease: timedelta) -> tuple[list[Claim], float | None]:
        with self._lock:
            self._end_leases()
            now = self._now()
            due = bisect_left(self._pending, (now + 1, ""))
            young = limit // FRESH_SHARE if due > limit else 0
            taken = self._pending[: min(due, limit) - young] + self._pending[due - young : due]
            del self._pending[due - young : due]
            del self._pending[: len(taken) - young]
            self._token = max(self._token + 1, (self._clock.now() - EPOCH) // timedelta(microseconds=1))
            claims = [self._lease(key, now, lease) for _, key in taken]
            return claims, self._due_in(now)

    def _lease(self, key: str, now: int, lease: timedelta) -> Claim:
        entry = self._entries[key]
        entry.attempt += 1
        claimed_at = from_milliseconds(now)
        claim = Claim(key, from_milliseconds(entry.due), entry.attempt, self._token, claimed_at, claimed_at + lease)
        entry.claim = self._claimed[key] = claim
        return claim

    def _due_in(self, now: int) -> float | None:
        """Seconds until the earliest pending deadline or end of a lease."""
        times = [visible for visible, _ in self._pending[:1]]
        times += [to_milliseconds(claim.leased_until) for claim in self._claimed.values()]
        return max(min(times) - now, 0) / 1000 if times else None

    def _end_leases(self) -> None:
        now = from_milliseconds(self._now())
        for claim in [claim for claim in self._claimed.values() if claim.leased_until <= now]:
            self._make_pending(claim.key, claim_due(claim), forgive=False)

    def _make_pending(self, key: str, visible: int, *, forgive: bool) -> None:
        entry = self._entries[key]
        entry.claim = None
        entry.visible = visible
        entry.attempt -= forgive
        del self._claimed[key]
        self._add_pending([(visible, key)])

    def _held(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those that are still claimed under the same token."""
        current = (self._claimed.get(claim.key) for claim in claims)
        return [
            claim for claim, held in zip(claims, current, strict=True) if held is not None and held.token == claim.token
        ]

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        if entry.claim is not None:
            del self._claimed[key]
        elif entry.buried is None:
            del self._pending[bisect_left(self._pending, (entry.visible, key))]

    def _add_pending(self, new: list[tuple[int, str]]) -> None:
        if len(new) < SORT_FROM:
            for item in new:
                insort(self._pending, item)
        else:
            self._pending.extend(new)
            self._pending.sort()

    def _now(self) -> int:
        return (self._clock.now() - EPOCH) // MILLISECOND


def open_from_url(url: str, *, name: str) -> MemoryTimer:
    """Open a new, empty timer; a memory URL says no more than its scheme."""
    if url != "memory://":
        raise ConfigError(f"a timer in memory has no address: write memory://, not {url!r}")
    return MemoryTimer(name)


def claim_due(claim: Claim) -> int:
    """When the claimed deadline was due, in milliseconds since 1970."""
    return to_milliseconds(claim.due_at)
