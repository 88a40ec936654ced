"""The only place that reads the machine's clock, and that waits."""

import time
from datetime import UTC, datetime
from typing import Protocol

from lapse.engine.waker import Waker


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC. It may step; deadlines are compared with it."""
        ...

    def monotonic(self) -> float:
        """Seconds from some fixed point; never steps. Waits are measured with it."""
        ...

    def wait(self, waker: Waker, seconds: float) -> bool:
        """Wait until woken, or for so many seconds of this clock. Return True if interrupted."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock; nothing ends the wait earlier."""
        ...


class SystemClock:
    """This machine's clock."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment before the process began."""
        return time.monotonic()

    def wait(self, waker: Waker, seconds: float) -> bool:
        """Wait in real time."""
        return waker.wait(seconds)

    def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
