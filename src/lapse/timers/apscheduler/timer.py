"""One scheduled job per order, in the job stores of APScheduler 3.

The stores are the library's own, and so is the form of the jobs: three stores per timer, for what is pending, claimed
and buried. The library's scheduler is not used, because it loses what a timer must not lose: it takes a job out of the
store before it runs it, drops what is a second late, and knows neither leases nor attempts. A worker claims from the
stores instead, and moves a job from one to the other in a transaction that compares what it moves.

What the mechanism cannot do, its traits say. One process claims (`jobs/seat.py`), any number arms. Nothing
tells a sleeper what another process armed, so it looks ten times a second. No server's clock is asked: the clock of
the host that claims decides.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from types import TracebackType
from typing import Self, cast
from urllib.parse import urlsplit

from lapse.engine.deadline import Buried, Claim, Deadline, from_milliseconds, to_milliseconds
from lapse.engine.errors import MissingLibrary
from lapse.engine.timer import LEASE, Finding, Stats, Traits
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker
from lapse.timers.apscheduler.claiming import claim_due, end_leases
from lapse.timers.apscheduler.job import LAST, Entry, after, entry, job_id, moment, now
from lapse.timers.apscheduler.single_claimer import Seat, look, memory, seat_at
from lapse.timers.apscheduler.stores import Jobs, Move, Place, parts

LOOK = 0.1
"""Seconds between two looks of a claim that waits."""

LOST_RACE = 0.01
"""Seconds until the next look where all that was due was armed or disarmed by another process this very moment."""

TRAITS = Traits(
    mechanism="apscheduler",
    durable=True,
    shared=False,
    can_disarm=True,
    transactional=False,
    ordered=True,
    precision=timedelta(seconds=LOOK),
    clock="host",
)


class ApschedulerTimer:
    """Deadlines as jobs, by the clock of this host."""

    traits = TRAITS

    def __init__(self, jobs: Jobs, name: str) -> None:
        self.name = name
        self._jobs = jobs
        self._waker = Waker()
        self._seat = seat_at(jobs.address)

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many at once."""
        latest = {deadline.key: min(to_milliseconds(deadline.due_at), LAST) for deadline in deadlines}
        source = Place.NONE if only_unknown else Place.ANY
        for part in parts(latest.items()):
            self._jobs.move([Entry(key, due, due).move(source, b"", Place.PENDING) for key, due in part])
        self._waker.wake()

    def disarm(self, keys: Iterable[str]) -> None:
        """Forget many at once."""
        for part in parts(dict.fromkeys(keys)):
            self._jobs.move([Move(job_id(key), Place.ANY, b"", Place.NONE, b"", None) for key in part])

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Take what is due, or wait for it. Raises TimerRefused where another process claims."""
        return claim_when_due(lambda: self._take(limit, lease), self._waker, wait.total_seconds())

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Let the leases run from now again."""
        seat = self._own_seat()
        with seat.lock:
            seat.keep(self._jobs, lease)
        ends: dict[tuple[str, int], int] = {}

        def renewed(found: Entry, state: bytes) -> Move:
            end = ends[found.key, found.token] = after(lease)
            return replace(found, run_at=end).move(Place.CLAIMED, state, Place.CLAIMED)

        held = self._change_held(claims, renewed)
        return [
            replace(claim, leased_until=moment(ends[claim.key, claim.token]))
            for claim in claims
            if (claim.key, claim.token) in held
        ]

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget what is done."""
        return len(
            self._change_held(
                claims,
                lambda found, state: Move(job_id(found.key), Place.CLAIMED, state, Place.NONE, b"", None),
            )
        )

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Give back, for after the delay."""

        def released(found: Entry, state: bytes) -> Move:
            run_at = after(delay) + 1 if delay else found.due  # the clock's own fraction is cut off, so one more
            free = replace(found, run_at=min(run_at, LAST), attempt=found.attempt - forgive, token=0)
            return free.move(Place.CLAIMED, state, Place.PENDING)

        count = len(self._change_held(claims, released))
        self._waker.wake()
        return count

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Give up on these: their jobs are paused."""
        text = reason.encode(errors="replace").decode()

        def buried(found: Entry, state: bytes) -> Move:
            grave = replace(found, run_at=None, token=0, reason=text, buried_at=now())
            return grave.move(Place.CLAIMED, state, Place.BURIED)

        return len(self._change_held(claims, buried))

    def buried(self, limit: int = 100) -> list[Buried]:
        """List what was given up on; all of it is read for that."""
        found = sorted(map(entry, self._jobs.buried()), key=lambda one: (one.buried_at, one.key))
        return [
            Buried(one.key, from_milliseconds(one.due), one.attempt, one.reason, from_milliseconds(one.buried_at))
            for one in found[:limit]
        ]

    def revive(self, keys: Iterable[str]) -> int:
        """Bring back what was buried, due at once."""

        def revived(found: Entry, state: bytes) -> Move:
            fresh = Entry(found.key, found.due, min(found.due, now()))
            return fresh.move(Place.BURIED, state, Place.PENDING)

        names = (job_id(key) for key in keys)
        count = sum(len(self._change(Place.BURIED, part, revived)) for part in parts(dict.fromkeys(names)))
        self._waker.wake()
        return count

    def stats(self) -> Stats:
        """Count; leases that are over are read, and count as pending."""
        at = now()
        figures = self._jobs.figures(at)
        ended = [entry(state).due for state in figures.ended]
        oldest = min([*ended, *([figures.oldest] if figures.oldest is not None else [])], default=None)
        return Stats(
            pending=figures.pending + len(ended),
            due=figures.due + len(ended),
            claimed=figures.claimed - len(ended),
            buried=figures.buried,
            oldest_due=None if oldest is None else from_milliseconds(oldest),
            next_due=None if figures.upcoming is None else from_milliseconds(figures.upcoming),
            now=from_milliseconds(at),
        )

    def generation(self) -> str:
        """Name the memory that the jobs are in, and the server's process where the memory may go with it."""
        return f"{self._jobs.identity()}/{memory(self._jobs)}"

    def check(self) -> list[Finding]:
        """Look at the server, at who claims, and say whose clock decides."""
        _, record = look(self._jobs)
        claimant = "nobody" if record is None or not record.owner or record.until < now() else record.who
        return [
            *self._jobs.findings(),
            Finding(fit=True, text=f"{claimant} claims now; a second process that claims is refused"),
            Finding(fit=True, text="the clock of the host that claims decides: keep it synchronised"),
        ]

    def wake(self) -> None:
        """End a wait."""
        self._waker.interrupt()

    def close(self) -> None:
        """Free the seat, where this is the last that has it, and give up the connections."""
        self._waker.interrupt()
        seat = self._own_seat()
        with seat.lock:
            seat.leave(self._jobs, id(self))
        self._jobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _own_seat(self) -> Seat:
        self._seat = seat_at(self._jobs.address)  # after a fork it is another
        return self._seat

    def _take(self, limit: int, lease: timedelta) -> tuple[list[Claim], float | None]:
        """Look, and claim only where something is due; in this process one at a time, so that none is in vain."""
        seat = self._own_seat()
        with seat.lock:
            if not seat.hold(self._jobs, id(self), lease):
                return [], LOOK
            first = self._jobs.earliest()
            if first is None:
                return [], LOOK
            due_in = (to_milliseconds(first) - now()) / 1000
            if due_in > 0:
                return [], min(due_in, LOOK)
            end_leases(self._jobs)
            return claim_due(self._jobs, limit, seat.token(), lease), LOST_RACE

    def _change_held(self, claims: Sequence[Claim], change: Callable[[Entry, bytes], Move]) -> set[tuple[str, int]]:
        """Move what is still held under its token. Returns the keys with their tokens."""
        tokens = {(job_id(claim.key), claim.token) for claim in claims}

        def if_held(found: Entry, state: bytes) -> Move | None:
            held = (job_id(found.key), found.token) in tokens and found.run_at is not None and found.run_at > now()
            return change(found, state) if held else None

        changed: set[tuple[str, int]] = set()
        for part in parts(dict.fromkeys(name for name, _ in tokens)):
            changed |= {(one.key, one.token) for one in self._change(Place.CLAIMED, part, if_held)}
        return changed

    def _change(self, place: Place, names: Sequence[str], change: Callable[[Entry, bytes], Move | None]) -> list[Entry]:
        """Move jobs as they are when they are moved: what another changed meanwhile is read again."""
        changed: list[Entry] = []
        while names:
            found = {name: (entry(state), state) for name, state in self._jobs.find(place, names).items()}
            moves = [move for one, state in found.values() if (move := change(one, state)) is not None]
            moved = self._jobs.move(moves)
            changed += [found[name][0] for name in moved]
            names = [move.job_id for move in moves if move.job_id not in moved]
        return changed


def open_from_url(url: str, *, name: str) -> ApschedulerTimer:
    """Open by URL: apscheduler+ and the address of the Redis, the PostgreSQL or the SQLite file with the jobs."""
    address = url.partition("+")[2]
    scheme = urlsplit(address).scheme
    kind = {"rediss": "redis", "postgres": "postgresql"}.get(scheme, scheme)
    try:
        opened = cast("Callable[..., Jobs]", import_module(f"lapse.timers.apscheduler.{kind}").open_jobs)
    except ImportError as error:
        if (error.name or "").startswith("lapse"):
            raise
        extra = "apscheduler" if kind == "sqlite" else f"apscheduler,{kind}"
        raise MissingLibrary(f"apscheduler+{scheme}://", extra) from error
    return ApschedulerTimer(opened(address, name=name), name)
