"""A deadline as a job of APScheduler 3.

The stored form is the library's: a pickled dictionary of the job's fields. Unpickling runs no code from a store: it
accepts only times, text and numbers, and refuses every other type.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from io import BytesIO
from typing import Any, NoReturn

from apscheduler.job import Job
from apscheduler.triggers.base import BaseTrigger
from apscheduler.util import datetime_to_utc_timestamp

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import EPOCH, LATEST, MILLISECOND, from_milliseconds, to_milliseconds
from lapse.engine.errors import TimerRefused
from lapse.engine.timer import LEASE
from lapse.timers.apscheduler.stores import Store, Transfer

LONGEST_ID = 191
"""The largest number of characters in a job id that every job store of the library accepts."""

OURS = "lapse:"
"""The prefix of every job id that is not an order's key itself."""

LAST = to_milliseconds(LATEST)
"""The last millisecond that a datetime can represent, in the year 9999."""

EARLIER_MODULES = ("lapse.timers.jobs.job",)
"""The module's earlier name. Jobs stored at that time contain it, and they can still be read."""


class UntilSettled(BaseTrigger):  # type: ignore[misc] # the library has no types
    """A trigger that runs at `due_at` and then every ten seconds, until a Lapse worker removes the job.

    The library's DateTrigger runs only once: a scheduler that opens the store by mistake would delete the deadline.
    """

    __slots__ = ("due_at",)

    def __init__(self, due_at: datetime) -> None:
        self.due_at = due_at

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next run time."""
        return self.due_at if previous_fire_time is None else now + LEASE

    def __str__(self) -> str:
        return f"until settled[{self.due_at}]"


def lapse_deadline(key: str, **_: object) -> NoReturn:
    """Raise TimerRefused. Every job names this function, and only a library scheduler, run by mistake, calls it."""
    raise TimerRefused(
        f"the job of {key!r} is a deadline of Lapse and does nothing by itself: run a Lapse worker on this store, and "
        "give this scheduler a store of its own"
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """The deadline in a job. Times are in milliseconds since 1970.

    `run_at` is the earliest time of a claim. For a claimed deadline it is the end of its lease, for a buried one None.
    """

    key: str
    due: int
    run_at: int | None
    attempt: int = 0
    token: int = 0
    reason: str = ""
    buried_at: int = 0

    def state(self) -> bytes:
        """Return the job in the form that a job store writes."""
        fields = {"attempt": self.attempt, "token": self.token, "reason": self.reason, "buried_at": self.buried_at}
        return write(
            job_id(self.key),
            self.run_at,
            trigger=UntilSettled(moment(self.due)),
            args=(self.key,),
            kwargs={name: value for name, value in fields.items() if value},
        )

    def transfer(self, source: Store, expected: bytes, target: Store) -> Transfer:
        """Return the transfer that replaces the job's `expected` state in `source` by this entry in `target`."""
        return Transfer(job_id(self.key), source, expected, target, self.state(), self.run_at)


def entry_in(state: bytes) -> Entry:
    """Return the deadline in a stored job. Raises TimerRefused for a job that Lapse did not write."""
    job = read(state)
    run_at = job["next_run_time"]
    return Entry(
        job["args"][0],
        to_milliseconds(job["trigger"].due_at),
        None if run_at is None else to_milliseconds(run_at),
        **job["kwargs"],
    )


def job_id(key: str) -> str:
    """Return the id of an order's job: the key, or the key's digest if a job store cannot store the key."""
    if len(key) <= LONGEST_ID and not key.startswith(OURS):
        return key
    return OURS + sha256(key.encode()).hexdigest()


def moment(milliseconds: int) -> datetime:
    """Return the datetime for milliseconds since 1970, at most the latest possible datetime."""
    return from_milliseconds(min(milliseconds, LAST))


def timestamp(milliseconds: int) -> float:
    """Return milliseconds since 1970 in seconds, computed by the library, as job stores compare them."""
    return float(datetime_to_utc_timestamp(moment(milliseconds)))


def now() -> int:
    """Return the host's time, in milliseconds since 1970, rounded down."""
    return (SYSTEM_CLOCK.now() - EPOCH) // MILLISECOND


def after(delay: timedelta) -> int:
    """Return the time `delay` after now, in milliseconds since 1970, rounded up."""
    return min(now() - (-delay // MILLISECOND), LAST)


def write(job: str, run_at: int | None, **fields: object) -> bytes:
    """Return a job with this id and these fields in the form that a job store writes."""
    next_run_time = None if run_at is None else moment(run_at)
    return pickle.dumps({**_template(), "id": job, "next_run_time": next_run_time, **fields}, PROTOCOL)


def read(state: bytes) -> Mapping[str, Any]:
    """Return the fields of a job. Raises TimerRefused for a job that Lapse did not write."""
    try:
        job = _Reader(BytesIO(state)).load()
        if job["func"] not in _functions():
            raise TimerRefused(f"the job {job['id']!r} runs {job['func']}: this store must have Lapse's jobs only")
        return dict(job)
    except (pickle.UnpicklingError, ArithmeticError, LookupError, AttributeError, ImportError, ValueError) as error:
        raise TimerRefused(f"a job cannot be read ({error}): this store must have Lapse's jobs only") from error
    except (EOFError, TypeError) as error:
        raise TimerRefused(f"a job is damaged ({error}): this store must have Lapse's jobs only") from error


PROTOCOL = 5
"""Every Python version that Lapse supports can read this pickle protocol."""

_ALLOWED = {(kind.__module__, kind.__name__): kind for kind in (datetime, timedelta, UntilSettled)} | {
    (zone.__module__, zone.__name__): zone for zone in (type(from_milliseconds(0).tzinfo),)
}
_ALLOWED |= {(module, UntilSettled.__name__): UntilSettled for module in EARLIER_MODULES}


class _Reader(pickle.Unpickler):
    """Unpickles plain values and times only. Any other type could run code, so it is refused."""

    def find_class(self, module: str, name: str) -> type:
        """Return the type if Lapse's jobs may contain it."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}")
        return _ALLOWED[module, name]


@cache
def _functions() -> frozenset[str]:
    """Return the names of the function in every job: the present name and the earlier ones."""
    name = lapse_deadline.__name__
    return frozenset({_template()["func"], *(f"{module}:{name}" for module in EARLIER_MODULES)})


@cache
def _template() -> dict[str, Any]:
    """Return all fields of a job in the form that the installed library version writes."""
    job = Job(
        None,
        id=OURS,
        func=lapse_deadline,
        args=("",),
        kwargs={},
        name="lapse deadline",
        trigger=UntilSettled(from_milliseconds(0)),
        executor="default",
        misfire_grace_time=None,  # with the default of 1 s, a restarted scheduler drops late jobs
        coalesce=True,
        max_instances=1,
    )
    job.next_run_time = None
    return dict(job.__getstate__())
