"""The machine's clock. No other module reads the machine's time or waits in real time."""

import time
from datetime import UTC, datetime
from typing import Protocol

from lapse.engine.waker import Waker


class Clock(Protocol):
    """The source of the time."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC. It may jump; deadlines are compared with it."""
        ...

    def monotonic(self) -> float:
        """Return the seconds since a fixed point. It never jumps; waits are measured with it."""
        ...

    def wait(self, waker: Waker, seconds: float) -> bool:
        """Wait until woken, or for the given seconds of this clock. Return True if interrupted."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for the given seconds of this clock. Nothing ends the wait earlier."""
        ...


class SystemClock:
    """This machine's clock."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds since a fixed moment before the process began."""
        return time.monotonic()

    def wait(self, waker: Waker, seconds: float) -> bool:
        """Wait in real time. Return True if interrupted."""
        return waker.wait(seconds)

    def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
