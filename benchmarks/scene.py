"""One measurement's stage: a folder, a worker in a process of its own, and the wait for what it writes down."""

import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.notes import noted, pairs_in
from benchmarks.orders import Orders
from benchmarks.subjects import Due, Subject
from benchmarks.worker_process import READY
from lapse.testing.faults import ChildProcess

LOOK = 0.02
"""Seconds between two looks; seldom enough to leave the machine to what is measured."""
START_WITHIN = 120.0


class MeasurementFailed(Exception):
    """A figure could not be measured. The message says why."""


class NoServer(MeasurementFailed):
    """The server that a mechanism needs is not on this machine. The message says what to install."""


class TooLate(MeasurementFailed):
    """The first deadline passed before everything stood; another try needs a longer lead."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A folder with the worker's notes, and the orders where they are needed."""

    subject: Subject
    folder: Path
    lease: timedelta

    @property
    def notes(self) -> Path:
        """The file that the worker writes."""
        return self.folder / "notes"

    @property
    def orders(self) -> Orders:
        """The shop's orders."""
        return Orders(self.folder / "orders.db")

    def arm(self, due: Due, *, orders: bool = False) -> None:
        """Place these orders: in the timer, and with `orders` in the shop's table too."""
        if orders or self.subject.local:
            self.orders.place(due)
        if not self.subject.local:
            self.subject.arm(due)

    @contextmanager
    def worker(self, *options: str, orders: bool = False) -> Iterator[ChildProcess]:
        """Run a worker, which is ready."""
        file = self.orders.file if orders or self.subject.local else None
        with self.subject.worker(self.notes, *options, orders=file, lease=self.lease) as worker:
            until(lambda: READY in worker.output or not worker.running, START_WITHIN)
            if READY not in worker.output:
                raise MeasurementFailed(f"the worker did not start:\n{worker.output}")
            yield worker
            if worker.running:  # it settles what it has done, so that nothing of it comes again
                worker.send_signal(signal.SIGTERM)
                worker.exit_code()

    def wait_for(self, numbers: Collection[int], end: float, worker: ChildProcess) -> None:
        """Wait until all of these are noted, or that moment of the wall clock, in seconds, is past."""

        def is_complete() -> bool:
            # What an earlier try armed may be among the notes, so their number alone does not tell.
            return pairs_in(self.notes) >= len(numbers) and {number for number, _ in self.noted()}.issuperset(numbers)

        until(lambda: is_complete() or not worker.running, end - time.time())
        if not worker.running:
            raise MeasurementFailed(f"the worker ended:\n{worker.output}")

    def noted(self) -> list[tuple[int, int]]:
        """Return what the worker wrote down: pairs of an order's number and ns since 1970."""
        return noted(self.notes)


@contextmanager
def scene(subject: Subject, lease: timedelta) -> Iterator[Scene]:
    """Set a stage and clear it away."""
    with TemporaryDirectory(prefix="lapse-bench-") as folder:
        yield Scene(subject, Path(folder), lease)


def until(condition: Callable[[], bool], seconds: float, *, look: float = LOOK) -> bool:
    """Wait until the condition holds or the seconds are over. Return whether it holds."""
    end = time.perf_counter() + seconds
    while not (holds := condition()) and time.perf_counter() < end:
        time.sleep(look)
    return holds


def now_ms() -> int:
    """Return the host's clock, in whole ms since 1970."""
    return time.time_ns() // 1_000_000
