"""One scheduled job per order, in the job stores of APScheduler 3.

Job stores and jobs have the library's format. A timer has three stores: for pending, claimed and buried deadlines. The
library's scheduler is not used, because it loses deadlines. It removes a job from the store before it runs the job, and
drops a job that is a second late. It has no leases and no attempts. Instead a worker claims from the stores. It moves a
job between stores in a transaction that compares the job first.

The traits say what the mechanism cannot do. Only one process claims (see `single_claimer.py`); any number of processes
may arm. Job stores do not notify a process when another process arms, so a waiting claim looks ten times a second. The
clock of the claiming host decides what is due, not a server's clock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Self, cast

from lapse.engine.deadline import Buried, Claim, Deadline, from_milliseconds, to_milliseconds
from lapse.engine.errors import MissingLibrary
from lapse.engine.timer import LEASE, Finding, Stats, TimerNames, Traits
from lapse.engine.waiting import claim_when_due
from lapse.engine.waker import Waker
from lapse.timers.apscheduler.claiming import change, change_held, claim_due, end_leases
from lapse.timers.apscheduler.generation import generation, read_record
from lapse.timers.apscheduler.job import LAST, Entry, after, entry_in, job_id, moment, now
from lapse.timers.apscheduler.single_claimer import SingleClaimer, claimer_of
from lapse.timers.apscheduler.stores import JobStores, Store, Transfer, parts

LOOK = 0.1
"""Seconds between two looks of a waiting claim."""

LOST_RACE = 0.01
"""Seconds until the next look if other processes armed or disarmed all due deadlines at the same moment."""

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
    """Deadlines as jobs. The clock of this host decides what is due."""

    traits = TRAITS

    def __init__(self, stores: JobStores, name: str) -> None:
        self.name = name
        self._stores = stores
        self._waker = Waker()
        self._claimer = claimer_of(stores.address)

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many deadlines at once."""
        latest = {deadline.key: min(to_milliseconds(deadline.due_at), LAST) for deadline in deadlines}
        source = Store.NONE if only_unknown else Store.ANY
        for part in parts(latest.items()):
            self._stores.transfer([Entry(key, due, due).transfer(source, b"", Store.PENDING) for key, due in part])
        self._waker.wake()

    def disarm(self, keys: Iterable[str]) -> None:
        """Delete the jobs of many keys at once."""
        for part in parts(dict.fromkeys(keys)):
            self._stores.transfer([Transfer(job_id(key), Store.ANY, b"", Store.NONE, b"", None) for key in part])

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Return claims on due deadlines, or wait for them. Raises TimerRefused if another process claims."""
        return claim_when_due(lambda: self._take(limit, lease), self._waker, wait.total_seconds())

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Restart the leases, and return the claims that are still held."""
        claimer = self._own_claimer()
        with claimer.lock:
            claimer.renew(self._stores, lease)
        ends: dict[tuple[str, int], int] = {}

        def renewed(found: Entry, state: bytes) -> Transfer:
            end = ends[found.key, found.token] = after(lease)
            return replace(found, run_at=end).transfer(Store.CLAIMED, state, Store.CLAIMED)

        held = change_held(self._stores, claims, renewed)
        return [
            replace(claim, leased_until=moment(ends[claim.key, claim.token]))
            for claim in claims
            if (claim.key, claim.token) in held
        ]

    def settle(self, claims: Sequence[Claim]) -> int:
        """Delete the claims' jobs, and return how many claims were still held."""

        def settled(found: Entry, state: bytes) -> Transfer:
            return Transfer(job_id(found.key), Store.CLAIMED, state, Store.NONE, b"", None)

        return len(change_held(self._stores, claims, settled))

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Make the claims' jobs pending again, due after the delay, and return how many claims were still held."""

        def released(found: Entry, state: bytes) -> Transfer:
            run_at = after(delay) + 1 if delay else found.due  # one more, because now() cuts a fraction off
            free = replace(found, run_at=min(run_at, LAST), attempt=found.attempt - forgive, token=0)
            return free.transfer(Store.CLAIMED, state, Store.PENDING)

        count = len(change_held(self._stores, claims, released))
        self._waker.wake()
        return count

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Move the claims' jobs to the buried store, paused, and return how many claims were still held."""
        text = reason.encode(errors="replace").decode()

        def buried(found: Entry, state: bytes) -> Transfer:
            entry = replace(found, run_at=None, token=0, reason=text, buried_at=now())
            return entry.transfer(Store.CLAIMED, state, Store.BURIED)

        return len(change_held(self._stores, claims, buried))

    def buried(self, limit: int = 100) -> list[Buried]:
        """Return the buried deadlines, the longest buried first. This reads all buried deadlines."""
        found = sorted(map(entry_in, self._stores.buried()), key=lambda entry: (entry.buried_at, entry.key))
        return [
            Buried(
                entry.key, from_milliseconds(entry.due), entry.attempt, entry.reason, from_milliseconds(entry.buried_at)
            )
            for entry in found[:limit]
        ]

    def revive(self, keys: Iterable[str]) -> int:
        """Make buried deadlines due at once with attempts reset to 0, and return how many there were."""

        def revived(found: Entry, state: bytes) -> Transfer:
            entry = Entry(found.key, found.due, min(found.due, now()))
            return entry.transfer(Store.BURIED, state, Store.PENDING)

        job_ids = dict.fromkeys(job_id(key) for key in keys)
        count = sum(len(change(self._stores, Store.BURIED, part, revived)) for part in parts(job_ids))
        self._waker.wake()
        return count

    def stats(self) -> Stats:
        """Return the counts. Jobs whose lease has ended are read, and count as pending."""
        at = now()
        counts = self._stores.counts(at)
        ended = [entry_in(state).due for state in counts.ended]
        oldest = min([*ended, *([counts.oldest] if counts.oldest is not None else [])], default=None)
        return Stats(
            pending=counts.pending + len(ended),
            due=counts.due + len(ended),
            claimed=counts.claimed - len(ended),
            buried=counts.buried,
            oldest_due=None if oldest is None else from_milliseconds(oldest),
            next_due=None if counts.upcoming is None else from_milliseconds(counts.upcoming),
            now=from_milliseconds(at),
        )

    def names(self) -> TimerNames:
        """Return whether this timer has job stores, and if not, which others have."""
        return self._stores.names()

    def generation(self) -> str:
        """Return the generation: the record's name, and the server process's if a restart may lose jobs."""
        return generation(self._stores)

    def check(self) -> list[Finding]:
        """Return findings about the server, the process that claims, and the clock."""
        _, record = read_record(self._stores)
        claimant = "no process" if record is None or not record.owner or record.until < now() else record.who
        return [
            *self._stores.findings(),
            Finding(fit=True, text=f"{claimant} claims now; a second process that claims is refused"),
            Finding(fit=True, text="the clock of the host that claims decides: keep it synchronised"),
        ]

    def wake(self) -> None:
        """Make a waiting claim return."""
        self._waker.interrupt()

    def close(self) -> None:
        """Release ownership if this is the last timer object that claims, and close the connections."""
        self._waker.interrupt()
        claimer = self._own_claimer()
        with claimer.lock:
            claimer.release(self._stores, id(self))
        self._stores.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own_claimer(self) -> SingleClaimer:
        self._claimer = claimer_of(self._stores.address)  # after a fork it is another one
        return self._claimer

    def _take(self, limit: int, lease: timedelta) -> tuple[list[Claim], float | None]:
        """Return claims, and the number of seconds until the next look.

        Only one thread of this process claims at a time. Otherwise two threads could try the same jobs, and one would
        get none.
        """
        claimer = self._own_claimer()
        with claimer.lock:
            if not claimer.acquire(self._stores, id(self), lease):
                return [], LOOK
            first = self._stores.earliest()
            if first is None:
                return [], LOOK
            due_in = (to_milliseconds(first) - now()) / 1000
            if due_in > 0:
                return [], min(due_in, LOOK)
            end_leases(self._stores)
            return claim_due(self._stores, limit, claimer.next_token(), lease), LOST_RACE


def open_from_url(url: str, *, name: str) -> ApschedulerTimer:
    """Return the timer at a URL: `apscheduler+` and the URL of the Redis, PostgreSQL or SQLite that has the jobs."""
    scheme = url.partition("://")[0].partition("+")[2].lower()
    kind = {"rediss": "redis", "postgres": "postgresql"}.get(scheme, scheme)
    try:
        open_stores = cast("Callable[..., JobStores]", import_module(f"lapse.timers.apscheduler.{kind}").open_stores)
    except ImportError as error:
        if (error.name or "").startswith("lapse"):
            raise
        extra = "apscheduler" if kind == "sqlite" else f"apscheduler,{kind}"
        raise MissingLibrary(f"apscheduler+{scheme}://", extra) from error
    return ApschedulerTimer(open_stores(url, name=name), name)
