"""Workers in threads, a recorder for their events, and patience: what the worker's tests share."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from lapse import Claim, ConcurrentWorker, Event, Kind, Timer, Worker
from lapse.engine.clock import SYSTEM_CLOCK

PATIENCE = 60.0


class Recorder:
    """A hook that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, /) -> None:
        """Keep it."""
        self.events.append(event)

    def of(self, kind: Kind) -> list[Event]:
        """Those of one kind."""
        return [event for event in self.events if event.kind is kind]


class Running:
    """A worker in a thread of its own."""

    def __init__(self, worker: Worker | ConcurrentWorker) -> None:
        self.worker = worker
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:  # noqa: BLE001 - for the test to look at
            self.error = error

    def join(self) -> None:
        """Wait for its end."""
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def stop(self) -> None:
        """End it and raise what ended it, if that was an error."""
        self.worker.stop()
        self.join()
        if self.error is not None:
            raise self.error


Start = Callable[..., Running]


class Handled:
    """A handler that keeps the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[list[Claim]] = []

    def __call__(self, claims: list[Claim]) -> None:
        """Keep them; all are settled."""
        self.batches.append(claims)

    @property
    def claims(self) -> list[Claim]:
        """All of them, in the order in which they came."""
        return [claim for batch in self.batches for claim in batch]

    @property
    def keys(self) -> list[str]:
        """Their keys."""
        return [claim.key for claim in self.claims]


def ago(seconds: float) -> datetime:
    """Some seconds before now; after it where negative."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


def unfinished(timer: Timer) -> int:
    """How many are pending or claimed, counted at one moment: between two counts one could go from here to there."""
    stats = timer.stats()
    return stats.pending + stats.claimed


def wait_until(condition: Callable[[], Any], what: str = "it did not come true", *, patience: float = PATIENCE) -> None:
    """Look until it is so, patiently; `patience` is in seconds."""
    end = SYSTEM_CLOCK.monotonic() + patience
    pause = threading.Event()
    while not condition():
        assert SYSTEM_CLOCK.monotonic() < end, what
        pause.wait(0.01)
