"""What this process holds: deliveries that it has not answered, each under a lease by its own monotonic clock."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim, from_milliseconds
from lapse.timers.rabbitmq.messages import Copy, Note

LATER = 0.001
"""Seconds that a lease lasts longer than it says, for the difference between two clocks' roundings."""


@dataclass(slots=True)
class Held:
    """A claim, the note it was made from, the deliveries that it answers for, and when its lease ends."""

    claim: Claim
    note: Note
    tags: list[int]
    ends: float


class Leases:
    """The claims of one connection. When it is lost they are void: the broker gives them to others.

    `give_back` is called with the tags of those whose lease has ended; `later` calls a function after so many seconds,
    both in the connection's thread.
    """

    def __init__(
        self, later: Callable[[float, Callable[[], None]], None], give_back: Callable[[list[int]], None]
    ) -> None:
        self._later = later
        self._give_back = give_back
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], Held] = {}

    def __len__(self) -> int:
        """How many claims are held."""
        with self._lock:
            return len(self._held)

    def hold(self, copies: Mapping[str, Sequence[Copy]], lease: timedelta, now: datetime) -> list[Claim]:
        """Make one claim of each key, which answers for all its copies; of these, what was armed last counts."""
        leased_until = now + lease
        ends = SYSTEM_CLOCK.monotonic() + lease.total_seconds() + LATER
        claims = []
        with self._lock:
            for key, some in copies.items():
                notes = [copy.counted for copy in some]
                last = max(notes, key=lambda note: note.armed)
                attempt = max(note.attempts for note in notes) + 1
                token = max(note.token for note in notes) + 1
                claim = Claim(key, from_milliseconds(last.due), attempt, token, now, leased_until)
                self._held[key, token] = Held(claim, last, [copy.tag for copy in some], ends)
                claims.append(claim)
        self._later(lease.total_seconds() + LATER, self._end)
        return sorted(claims, key=lambda claim: claim.due_at)

    def renew(self, claims: Iterable[Claim], lease: timedelta) -> list[Claim]:
        """Let the leases of those that are held run from now again."""
        leased_until = SYSTEM_CLOCK.now() + lease
        now = SYSTEM_CLOCK.monotonic()
        renewed = []
        with self._lock:
            for claim in claims:
                held = self._held.get((claim.key, claim.token))
                if held is not None and held.ends > now:
                    held.ends = now + lease.total_seconds() + LATER
                    held.claim = replace(held.claim, leased_until=leased_until)
                    renewed.append(held.claim)
        if renewed:
            self._later(lease.total_seconds() + LATER, self._end)
        return renewed

    def take(self, claims: Iterable[Claim]) -> list[Held]:
        """Take out those that are held; whoever takes them answers their deliveries."""
        now = SYSTEM_CLOCK.monotonic()
        with self._lock:
            named = dict.fromkeys((claim.key, claim.token) for claim in claims)
            found = [self._held.get(one) for one in named]
            held = [one for one in found if one is not None and one.ends > now]
            for one in held:
                del self._held[one.claim.key, one.claim.token]
        return held

    def take_keys(self, keys: Iterable[str]) -> list[Held]:
        """Take out whatever is held of these keys."""
        wanted = set(keys)
        with self._lock:
            held = [one for (key, _), one in self._held.items() if key in wanted]
            for one in held:
                del self._held[one.claim.key, one.claim.token]
        return held

    def keys(self) -> set[str]:
        """The keys that are claimed here."""
        with self._lock:
            return {key for key, _ in self._held}

    def _end(self) -> None:
        """Give back what nobody has renewed in time. In the connection's thread."""
        now = SYSTEM_CLOCK.monotonic()
        with self._lock:
            ended = [one for one in self._held.values() if one.ends <= now]
            for one in ended:
                del self._held[one.claim.key, one.claim.token]
        if ended:
            self._give_back([tag for one in ended for tag in one.tags])
