"""The only place that reads the machine's clock."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC. It may step; deadlines are compared with it."""
        ...

    def monotonic(self) -> float:
        """Seconds from some fixed point; never steps. Waits are measured with it."""
        ...


class SystemClock:
    """This machine's clock."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment before the process began."""
        return time.monotonic()


SYSTEM_CLOCK = SystemClock()
