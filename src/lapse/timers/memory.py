"""The reference implementation of the contract, in its simplest form, for one process and for tests."""

import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self
from uuid import uuid4

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.deadline import EPOCH, MILLISECOND, Buried, Claim, Deadline, from_milliseconds, to_milliseconds
from lapse.engine.timer import FRESH_SHARE, LEASE, Finding, Stats, Traits
from lapse.engine.url import Form
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker

FORMS = {"memory": Form(example="memory://", account=False, hosts=(0, 0))}

TRAITS = Traits(
    mechanism="memory",
    durable=False,
    shared=False,
    can_disarm=True,
    transactional=False,
    ordered=True,
    precision=timedelta(milliseconds=1),
    clock="host",
)

SORT_FROM = 64
"""From this number of new entries on, sorting the whole list is cheaper than inserting each entry."""


@dataclass(slots=True)
class _Entry:
    due: int
    """The armed time, in milliseconds since 1970."""
    visible: int
    """When the deadline may be handed out: the armed time, or the time of the next attempt. Milliseconds since 1970."""
    attempt: int = 0
    claim: Claim | None = None
    buried: Buried | None = None


class MemoryTimer:
    """A timer in this process's memory. `clock` decides what is due. Deadlines are lost when the process ends."""

    traits = TRAITS

    def __init__(self, name: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._pending: list[tuple[int, str]] = []  # (visible, key) of the pending entries, sorted
        self._claimed: dict[str, Claim] = {}
        self._token = 0
        self._generation = uuid4().hex
        self._waker = Waker()

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many deadlines at once."""
        latest = {deadline.key: to_milliseconds(deadline.due_at) for deadline in deadlines}
        with self._lock:
            if only_unknown:
                latest = {key: due for key, due in latest.items() if key not in self._entries}
            for key, due in latest.items():
                self._forget(key)
                self._entries[key] = _Entry(due, due)
            self._add_pending([(due, key) for key, due in latest.items()])
        self._waker.wake()

    def disarm(self, keys: Iterable[str]) -> None:
        """Forget many keys at once."""
        with self._lock:
            for key in keys:
                self._forget(key)

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Return claims on due deadlines. If none is due, wait until one is."""
        return claim_when_due(lambda: self._take(limit, lease), self._waker, wait.total_seconds(), self._clock)

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Restart the leases now. Return the renewed claims, without those whose lease had already ended."""
        with self._lock:
            self._end_leases()
            leased_until = from_milliseconds(self._now()) + lease
            renewed = [replace(claim, leased_until=leased_until) for claim in self._held(claims)]
            for claim in renewed:
                self._claimed[claim.key] = self._entries[claim.key].claim = claim
            return renewed

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget the deadlines of these claims. Return how many claims were still held."""
        with self._lock:
            self._end_leases()
            held = self._held(claims)
            for claim in held:
                self._forget(claim.key)
            return len(held)

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Make these deadlines pending again, after the delay. Return how many claims were still held."""
        with self._lock:
            self._end_leases()
            held = self._held(claims)
            later = to_milliseconds(from_milliseconds(self._now()) + delay)
            for claim in held:
                self._make_pending(claim.key, later if delay else to_milliseconds(claim.due_at), forgive=forgive)
        self._waker.wake()
        return len(held)

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Bury these deadlines. Return how many claims were still held."""
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
        """Return the buried deadlines, the longest buried first."""
        with self._lock:
            all_buried = [entry.buried for entry in self._entries.values() if entry.buried is not None]
        return sorted(all_buried, key=lambda buried: buried.buried_at)[:limit]

    def revive(self, keys: Iterable[str]) -> int:
        """Make buried deadlines pending and due at once. Return how many were buried."""
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
        """Return the counts."""
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
        """Return a name that never changes: the deadlines are lost only together with the process."""
        return self._generation

    def check(self) -> list[Finding]:
        """Return one finding, which says what this timer is."""
        return [Finding(fit=True, text="kept in this process: all deadlines are lost when the process ends")]

    def wake(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        """Return the seconds until the next deadline is due or the next lease ends; None if there is neither."""
        times = [visible for visible, _ in self._pending[:1]]
        times += [to_milliseconds(claim.leased_until) for claim in self._claimed.values()]
        return max(min(times) - now, 0) / 1000 if times else None

    def _end_leases(self) -> None:
        now = from_milliseconds(self._now())
        for claim in [claim for claim in self._claimed.values() if claim.leased_until <= now]:
            self._make_pending(claim.key, to_milliseconds(claim.due_at), forgive=False)

    def _make_pending(self, key: str, visible: int, *, forgive: bool) -> None:
        entry = self._entries[key]
        entry.claim, entry.visible = None, visible
        entry.attempt -= forgive
        del self._claimed[key]
        self._add_pending([(visible, key)])

    def _held(self, claims: Sequence[Claim]) -> list[Claim]:
        """Return the claims that are still held under the same token."""
        current = ((claim, self._claimed.get(claim.key)) for claim in claims)
        return [claim for claim, held in current if held is not None and held.token == claim.token]

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None and entry.claim is not None:
            del self._claimed[key]
        elif entry is not None and entry.buried is None:
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
    """Return a new, empty timer. The URL must have only a scheme."""
    FORMS["memory"].read(url)
    return MemoryTimer(name)
