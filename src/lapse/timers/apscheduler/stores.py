"""What the timer on APScheduler asks of job stores, whatever server they are on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Protocol, TypeVar

from lapse.engine.timer import Finding


class Place(StrEnum):
    """Where a job can be: in one of three job stores, or, in a `Move`, in any or in none of them."""

    PENDING = "pending"
    CLAIMED = "claimed"
    BURIED = "buried"
    ANY = "any"
    NONE = "none"


MOST_MOVES = 500
"""Jobs in one transaction."""

T = TypeVar("T")

STORES = (Place.PENDING, Place.CLAIMED, Place.BURIED)


@dataclass(frozen=True, slots=True)
class Move:
    """From `source`, if the job's stored state is still `expected`, to `target` as `state`, to run at `run_at`.

    From ANY it goes without a condition, from NONE only if no store has the job; to NONE it is forgotten. `run_at` is
    in milliseconds since 1970, None for a job that is paused.
    """

    job_id: str
    source: Place
    expected: bytes
    target: Place
    state: bytes
    run_at: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of one moment. `ended` are the states of claimed jobs whose lease is over; times are in milliseconds."""

    pending: int
    due: int
    claimed: int
    buried: int
    oldest: int | None
    upcoming: int | None
    ended: list[bytes]


class Jobs(Protocol):
    """The three job stores of one timer. Every method may be called from several threads, and raises TimerError."""

    address: str
    """Names the stores and the server they are on, without a password: the same for every handle on them."""

    def move(self, moves: Sequence[Move]) -> set[str]:
        """Move many in one transaction, each if its condition holds. Returns the ids of those that were moved."""

    def find(self, place: Place, job_ids: Sequence[str]) -> dict[str, bytes]:
        """Read the states of those that the store has."""

    def earliest(self) -> datetime | None:
        """When the first job that is pending or claimed is to run."""

    def due(self, place: Place, now: int, limit: int, *, newest: bool = False) -> list[bytes]:
        """Read the states of those to run by `now`, the oldest, or the newest, first."""

    def buried(self) -> list[bytes]:
        """Read the states of all that are buried."""

    def figures(self, now: int) -> Figures:
        """Count."""

    def identity(self) -> str:
        """Name the server's process where its memory may go with it, else nothing."""

    def findings(self) -> Iterable[Finding]:
        """Look at whether the server keeps jobs."""

    def close(self) -> None:
        """Give up connections."""


def parts(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut into what one transaction takes."""
    rest = iter(items)
    while part := list(islice(rest, MOST_MOVES)):
        yield part
