"""What is measured: a mechanism of Lapse, or the naive listener, each as something that can be armed and started."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import redis

from benchmarks import naive_listener, worker_process
from benchmarks.naive_listener import PREFIX
from benchmarks.orders import EPOCH
from benchmarks.places import PLACES, Place, kind_of, schemes
from lapse import Deadline, Timer, open_timer
from lapse.config import traits_of
from lapse.testing.faults import ChildProcess

NAIVE = "SETEX + listener"
PIPELINE = 1_000
"""Commands that the naive way sends at once where it may arm in bulk."""

Due = Mapping[int, int]
"""An order's number → its deadline in ms since 1970."""


class Subject(Protocol):
    """One way to learn that an order's time is up, at one place."""

    place: Place
    local: bool
    """Whether its deadlines are in the worker's own process, which arms them from the orders."""
    exact: bool
    """Whether `known` is right at once; else it may trail by a moment."""

    def arm(self, due: Due) -> None:
        """Arm many, in bulk."""

    def arm_each(self, due: Due) -> None:
        """Arm one after the other, as web requests do."""

    def known(self) -> int:
        """Return the number of deadlines that the subject still has."""

    def worker(self, notes: Path, *options: str, orders: Path | None = None, lease: timedelta) -> ChildProcess:
        """Return a worker, started in a process of its own; `options` are further ones of `worker_process`."""


class Mechanism:
    """A mechanism of Lapse, by the scheme of its URL."""

    def __init__(self, scheme: str, place: Place) -> None:
        self.place = place
        traits = traits_of(scheme)
        self.local, self.exact = not traits.durable, traits.exact_stats
        self._url = place.url(scheme)
        self._local = open_timer(self._url, name="orders") if self.local else None

    def arm(self, due: Due) -> None:
        """Arm many, in bulk."""
        with self._timer() as timer:
            timer.arm(_deadlines(due))

    def arm_each(self, due: Due) -> None:
        """Arm one after the other."""
        with self._timer() as timer:
            for deadline in _deadlines(due):
                timer.arm([deadline])

    def known(self) -> int:
        """Return the number of deadlines that are pending or claimed."""
        with self._timer() as timer:
            stats = timer.stats()
            return stats.pending + stats.claimed

    def worker(self, notes: Path, *options: str, orders: Path | None = None, lease: timedelta) -> ChildProcess:
        """Return a worker, started, that arms again from the orders, where there are any."""
        chosen = [f"--notes={notes}", f"--lease={lease.total_seconds()}", *options]
        if orders:
            chosen += [f"--orders={orders}", *(["--local"] if self.local else [])]
        return ChildProcess([sys.executable, "-m", worker_process.__name__, self._url, *chosen])

    def _timer(self) -> AbstractContextManager[Timer]:
        """Return a timer to open and close; the timer in this process's memory stays open."""
        return nullcontext(self._local) if self._local else open_timer(self._url, name="orders")


class NaiveListener:
    """Keys with a time to live, and a listener to their events."""

    local, exact = False, True

    def __init__(self, place: Place) -> None:
        self.place = place
        self._url = place.url("redis")

    def arm(self, due: Due) -> None:
        """Set the keys in pipelines. They expire to the millisecond: a whole second more would be SETEX's own."""
        items = list(due.items())
        with redis.Redis.from_url(self._url) as client:
            for start in range(0, len(items), PIPELINE):
                pipeline = client.pipeline(transaction=False)
                for number, at in items[start : start + PIPELINE]:
                    pipeline.set(f"{PREFIX}{number}", "", pxat=at)
                pipeline.execute()

    def arm_each(self, due: Due) -> None:
        """Set one key after the other."""
        with redis.Redis.from_url(self._url) as client:
            for number, at in due.items():
                client.set(f"{PREFIX}{number}", "", pxat=at)

    def known(self) -> int:
        """Return the number of keys."""
        with redis.Redis.from_url(self._url) as client:
            return int(client.dbsize())

    def worker(self, notes: Path, *options: str, orders: Path | None = None, lease: timedelta) -> ChildProcess:  # noqa: ARG002 - it has no leases
        """Return the listener, started."""
        chosen = [f"--notes={notes}", *options]
        if orders:
            chosen.append(f"--orders={orders}")
        return ChildProcess([sys.executable, "-m", naive_listener.__name__, self._url, *chosen])


def _deadlines(due: Due) -> Iterable[Deadline]:
    return [Deadline(str(number), EPOCH + timedelta(milliseconds=at)) for number, at in due.items()]


def subjects() -> dict[str, tuple[Callable[[Path], Place], Callable[[Place], Subject]]]:
    """Return all that is measured, by name: how its place is started in a folder, and how the subject is made there."""
    found: dict[str, tuple[Callable[[Path], Place], Callable[[Place], Subject]]] = {
        scheme: (PLACES[kind_of(scheme)], lambda place, scheme=scheme: Mechanism(scheme, place))  # type: ignore[misc] # a default binds it
        for scheme in schemes()
    }
    return found | {NAIVE: (PLACES["redis"], NaiveListener)}
