"""A clock that a test sets."""

import threading
from datetime import UTC, datetime, timedelta

from lapse.engine.waker import Waker


class ManualClock:
    """A clock that stands still until `advance`, which also ends the waits on this clock."""

    def __init__(self, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self._waiting: list[Waker] = []

    def now(self) -> datetime:
        """Return the time to which the clock is set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds by which the clock was advanced; a `step` does not count."""
        return self._elapsed

    def advance(self, by: timedelta) -> None:
        """Let time pass, and wake every wait."""
        with self._lock:
            self._now += by
            self._elapsed += by.total_seconds()
            for waker in self._waiting:
                waker.wake()

    def step(self, by: timedelta) -> None:
        """Change the time of day without time passing, as when a host's clock is corrected."""
        with self._lock:
            self._now += by

    def wait(self, waker: Waker, seconds: float) -> bool:
        """Wait until the clock is advanced or the waker used, for a real minute at most. Return True if interrupted."""
        end = self._elapsed + seconds
        with self._lock:
            self._waiting.append(waker)
        try:
            return waker.wait(60.0) if self._elapsed < end else False
        finally:
            with self._lock:
                self._waiting.remove(waker)

    def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced by the given seconds."""
        end = self._elapsed + seconds
        while self._elapsed < end:
            self.wait(Waker(), end - self._elapsed)
