"""A deadline as a job of APScheduler 3.

What is stored is the library's own form: a pickled dictionary of the job's fields. Whatever else was pickled into a
store is not unpickled here: only times, text and numbers come out of a job.
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
from lapse.engine.deadline import EPOCH, MILLISECOND, from_milliseconds, to_milliseconds
from lapse.engine.errors import TimerRefused
from lapse.engine.timer import LEASE
from lapse.timers.apscheduler.stores import Move, Place

LONGEST_ID = 191
"""Characters of a job's id that every one of the library's job stores can take."""

OURS = "lapse:"
"""What ids begin with that are not an order's key as it is."""

LAST = 253_402_300_799_999
"""The last millisecond that a datetime can name, in the year 9999."""


class UntilSettled(BaseTrigger):  # type: ignore[misc] # the library has no types
    """Runs at `due_at`, and every ten seconds from then on, until Lapse's worker takes the job away.

    The library's own DateTrigger runs once: a scheduler that opens the store would take the deadline for good.
    """

    __slots__ = ("due_at",)

    def __init__(self, due_at: datetime) -> None:
        self.due_at = due_at

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Say when to run next."""
        return self.due_at if previous_fire_time is None else now + LEASE

    def __str__(self) -> str:
        return f"until settled[{self.due_at}]"


def lapse_deadline(key: str, **_: object) -> NoReturn:
    """Say that the wrong program runs this job: the function of every job, for schedulers of APScheduler's own."""
    raise TimerRefused(
        f"the job of {key!r} is a deadline of Lapse and does nothing by itself: run a Lapse worker on this store, and "
        "give this scheduler one of its own"
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """What a job says of one deadline; times in milliseconds since 1970.

    `run_at` is when it is handed out, for a claimed one when its lease ends, None for a buried one.
    """

    key: str
    due: int
    run_at: int | None
    attempt: int = 0
    token: int = 0
    reason: str = ""
    buried_at: int = 0

    def state(self) -> bytes:
        """Write it as a job store does."""
        known = {"attempt": self.attempt, "token": self.token, "reason": self.reason, "buried_at": self.buried_at}
        return write(
            job_id(self.key),
            self.run_at,
            trigger=UntilSettled(moment(self.due)),
            args=(self.key,),
            kwargs={name: value for name, value in known.items() if value},
        )

    def move(self, source: Place, expected: bytes, target: Place) -> Move:
        """Put it as it is now where something of it was."""
        return Move(job_id(self.key), source, expected, target, self.state(), self.run_at)


def entry(state: bytes) -> Entry:
    """Read what a job store has. Raises TimerRefused for a job that is none of ours."""
    job = read(state)
    run_at = job["next_run_time"]
    return Entry(
        job["args"][0],
        to_milliseconds(job["trigger"].due_at),
        None if run_at is None else to_milliseconds(run_at),
        **job["kwargs"],
    )


def job_id(key: str) -> str:
    """Name the order's job: by its key, or by the key's digest where a job store could not take the key."""
    if len(key) <= LONGEST_ID and not key.startswith(OURS):
        return key
    return OURS + sha256(key.encode()).hexdigest()


def moment(milliseconds: int) -> datetime:
    """Turn milliseconds since 1970 into a datetime, the last that there is at most."""
    return from_milliseconds(min(milliseconds, LAST))


def timestamp(milliseconds: int) -> float:
    """Turn milliseconds since 1970 into what job stores compare: seconds, by the library's own reckoning."""
    return float(datetime_to_utc_timestamp(moment(milliseconds)))


def now() -> int:
    """The host's clock, in milliseconds since 1970, rounded down."""
    return (SYSTEM_CLOCK.now() - EPOCH) // MILLISECOND


def after(delay: timedelta) -> int:
    """So long after now, in milliseconds since 1970, rounded up."""
    return min(now() - (-delay // MILLISECOND), LAST)


def write(job: str, run_at: int | None, **fields: object) -> bytes:
    """Write a job of this id and these fields as a job store does."""
    next_run_time = None if run_at is None else moment(run_at)
    return pickle.dumps({**_template(), "id": job, "next_run_time": next_run_time, **fields}, PROTOCOL)


def read(state: bytes) -> Mapping[str, Any]:
    """Read the fields of a job. Raises TimerRefused for one that is none of ours."""
    try:
        job = _Reader(BytesIO(state)).load()
        if job["func"] != _template()["func"]:
            raise TimerRefused(f"the job {job['id']!r} runs {job['func']}: this store must have Lapse's jobs only")
        return dict(job)
    except (pickle.UnpicklingError, ArithmeticError, LookupError, AttributeError, ImportError, ValueError) as error:
        raise TimerRefused(f"a job cannot be read ({error}): this store must have Lapse's jobs only") from error
    except (EOFError, TypeError) as error:
        raise TimerRefused(f"a job is damaged ({error}): this store must have Lapse's jobs only") from error


PROTOCOL = 5
"""Every Python that is supported can read it."""

_HARMLESS = {(kind.__module__, kind.__name__): kind for kind in (datetime, timedelta, UntilSettled)} | {
    (zone.__module__, zone.__name__): zone for zone in (type(from_milliseconds(0).tzinfo),)
}


class _Reader(pickle.Unpickler):
    """Unpickles plain values and times; a call of anything else, which could run code, is refused."""

    def find_class(self, module: str, name: str) -> type:
        """Allow what our jobs are made of."""
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}")
        return _HARMLESS[module, name]


@cache
def _template() -> dict[str, Any]:
    """All fields of a job, as this version of the library writes them."""
    job = Job(
        None,
        id=OURS,
        func=lapse_deadline,
        args=("",),
        kwargs={},
        name="lapse deadline",
        trigger=UntilSettled(from_milliseconds(0)),
        executor="default",
        misfire_grace_time=None,  # the default of a second makes a restarted scheduler drop what is late
        coalesce=True,
        max_instances=1,
    )
    job.next_run_time = None
    return dict(job.__getstate__())
