"""A clock that a test sets."""

import threading
from datetime import UTC, datetime, timedelta

from lapse.engine.waker import Waker


class ManualClock:
    """Stands still until `advance`. Who waits on it waits for that."""

    def __init__(self, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self._waiting: list[Waker] = []

    def now(self) -> datetime:
        """Return the time that it is set to."""
        return self._now

    def monotonic(self) -> float:
        """Seconds by which it was advanced; a step does not count."""
        return self._elapsed

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        with self._lock:
            self._now += by
            self._elapsed += by.total_seconds()
            for waker in self._waiting:
                waker.wake()

    def step(self, by: timedelta) -> None:
        """Change the time of day, as a correction of a host's clock does: no time passes."""
        with self._lock:
            self._now += by

    def wait(self, waker: Waker, seconds: float) -> bool:
        """Wait until advanced so far, or woken."""
        end = self._elapsed + seconds
        with self._lock:
            self._waiting.append(waker)
        try:
            return waker.wait(60.0) if self._elapsed < end else False
        finally:
            with self._lock:
                self._waiting.remove(waker)

    def sleep(self, seconds: float) -> None:
        """Wait until advanced so far."""
        end = self._elapsed + seconds
        while self._elapsed < end:
            self.wait(Waker(), end - self._elapsed)
