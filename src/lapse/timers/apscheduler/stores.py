"""The interface of APScheduler's job stores that the timer needs, on any server."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Protocol, TypeVar

from lapse.engine.timer import Finding, TimerNames


class Store(StrEnum):
    """A job store of the timer. Every job is in one of three stores. A `Transfer` can also name ANY or NONE."""

    PENDING = "pending"
    CLAIMED = "claimed"
    BURIED = "buried"
    ANY = "any"
    NONE = "none"


STORES = (Store.PENDING, Store.CLAIMED, Store.BURIED)

MOST_TRANSFERS = 500
"""The largest number of jobs in one transaction."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Transfer:
    """Moves a job from `source`, if its stored state is still `expected`, to `target` as `state`, to run at `run_at`.

    From ANY, a job is moved without a condition; from NONE, only if no store has the job. To NONE, a job is deleted.
    `run_at` is in milliseconds since 1970, None for a paused job.
    """

    job_id: str
    source: Store
    expected: bytes
    target: Store
    state: bytes
    run_at: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts at one moment; times are in milliseconds since 1970.

    `oldest` is the earliest run time of the due jobs, `upcoming` that of the pending jobs that are not yet due.
    `ended` are the states of claimed jobs whose lease has ended.
    """

    pending: int
    due: int
    claimed: int
    buried: int
    oldest: int | None
    upcoming: int | None
    ended: list[bytes]


class JobStores(Protocol):
    """The three job stores of one timer. Every method may be called from several threads, and raises TimerError."""

    address: str
    """Identifies the stores and their server, without a password. Equal for all objects on the same stores."""

    def transfer(self, transfers: Sequence[Transfer]) -> set[str]:
        """Carry out, in one transaction, each transfer whose condition holds. Return the ids of the moved jobs."""

    def find(self, store: Store, job_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the states of the jobs that the store has, by id."""

    def earliest(self) -> datetime | None:
        """Return the earliest run time of all pending and claimed jobs; None if there is none."""

    def due(self, store: Store, now: int, limit: int, *, newest: bool = False) -> list[bytes]:
        """Return the states of up to `limit` jobs to run by `now`, the oldest first, or the newest first."""

    def buried(self) -> list[bytes]:
        """Return the states of all buried jobs."""

    def counts(self, now: int) -> Counts:
        """Return the counts of all three stores."""

    def server_generation(self) -> str:
        """Return a name for the server's process if a restart may lose jobs, else ""."""

    def names(self) -> TimerNames:
        """Return whether this timer has stores on the server, and if not, which others have. Creates no store."""

    def findings(self) -> Iterable[Finding]:
        """Return findings about whether the server keeps jobs."""

    def close(self) -> None:
        """Close the connections."""


def parts(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield the items in lists, each small enough for one transaction."""
    rest = iter(items)
    while part := list(islice(rest, MOST_TRANSFERS)):
        yield part
