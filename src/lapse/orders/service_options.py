"""The sizes and times of a service."""

from dataclasses import dataclass, fields
from datetime import timedelta

from lapse.engine.errors import ConfigError
from lapse.engine.timer import LEASE
from lapse.engine.worker import DRAIN, MAX_ATTEMPTS
from lapse.orders.arm_again import ARM_BATCH

BATCH = 500
"""The largest number of orders that one transaction lapses, so that no lock is held for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Sizes and times of a service. Raises ConfigError for a number that is too small."""

    batch: int = BATCH
    """Orders in one transaction, at most (500)."""
    lease: timedelta = LEASE
    """How long a claim is held (10 s). If the worker crashes, its claimed orders are handed out again after this
    time."""
    sweep_beside_timer: timedelta = timedelta(seconds=15)
    """Time between two sweeps with a timer (15 s). An order that the timer does not know is at most this late."""
    sweep_alone: timedelta = timedelta(seconds=1)
    """Time between two sweeps without a timer (1 s)."""
    grace: timedelta = timedelta(seconds=1)
    """The sweep takes an order this long after its deadline, so that the timer comes first (1 s). May be 0."""
    max_attempts: int = MAX_ATTEMPTS
    """Attempts before a deadline is buried (10)."""
    drain: timedelta = DRAIN
    """How long the current batch and the calls to gateways may take to finish after a signal to stop (10 s). An order
    whose gateway has not answered by then stays closing, and its deadline fires again."""
    arm_batch: int = ARM_BATCH
    """How many deadlines one call arms when the timer may have lost deadlines (2,000)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            seconds = value.total_seconds() if isinstance(value, timedelta) else value
            if seconds < 0 or (seconds == 0 and field.name != "grace"):
                unit = " seconds" if isinstance(value, timedelta) else ""
                raise ConfigError(f"{field.name} must be greater than 0; got {seconds:g}{unit}")
