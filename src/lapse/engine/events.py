"""What a worker reports: one frozen record, one hook, and a level for each kind."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from lapse.engine.deadline import Claim, Deadline

log = logging.getLogger("lapse")

KEYS_NAMED = 5
"""How many keys an event names."""


class Kind(StrEnum):
    """What happened."""

    STARTED = "worker started"
    STOPPED = "worker stopped"
    HANDLED = "batch handled"
    FAILED = "handler failed"
    RELEASED = "claims released"
    BURIED = "claims buried"
    LEASE_LOST = "lease lost"
    TIMER_LOST = "timer away"
    TIMER_BACK = "timer back"
    REARMED = "orders armed again"
    SWEPT = "orders swept"
    WATCHING = "watching keys"
    DECLINED = "delivery declined"
    LEARNT = "keys learnt"
    UNFIT = "server unfit"
    IDLE = "nothing to do"
    """The worker has looked and found nothing, or could not look: a sign of life, at least every few seconds."""


LEVELS: Mapping[Kind, int] = {
    Kind.IDLE: logging.DEBUG,
    Kind.RELEASED: logging.DEBUG,
    Kind.DECLINED: logging.WARNING,
    Kind.FAILED: logging.WARNING,
    Kind.LEASE_LOST: logging.WARNING,
    Kind.UNFIT: logging.WARNING,
    Kind.BURIED: logging.ERROR,
    Kind.TIMER_LOST: logging.ERROR,
}
"""The level at which each kind of event is logged; a kind that is missing is logged at INFO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to one timer's work.

    `count` is the number of orders concerned, and `keys` names the first few. `seconds` is how long the work took.

    `lateness` has one entry for each claim that the event is about: how long after its deadline it was handed out, by
    the timer's clock. A histogram of the lateness is made of the entries of all HANDLED events.
    """

    kind: Kind
    timer: str
    count: int = 0
    keys: tuple[str, ...] = ()
    seconds: float = 0.0
    lateness: tuple[timedelta, ...] = ()
    reason: str = ""
    error: BaseException | None = None

    @property
    def earliest(self) -> timedelta | None:
        """The smallest lateness; None where the event is about no claim."""
        return min(self.lateness, default=None)

    @property
    def latest(self) -> timedelta | None:
        """The greatest lateness; None where the event is about no claim."""
        return max(self.lateness, default=None)

    @property
    def level(self) -> int:
        """The level of the standard library's logging at which the event is logged."""
        return LEVELS.get(self.kind, logging.INFO)


class Hook(Protocol):
    """Anything that takes an event. It must be quick; it is called between two batches."""

    def __call__(self, event: Event, /) -> None:
        """Take note of the event."""
        ...


def named(deadlines: Sequence[Claim | Deadline]) -> tuple[str, ...]:
    """Return the keys that an event about these names."""
    return tuple([one.key for one in deadlines[:KEYS_NAMED]])


def emit(hooks: Iterable[Hook], event: Event) -> None:
    """Call every hook. A hook that fails is logged and costs the orders nothing."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:
            log.exception("a hook failed on %s; the work goes on", event.kind)


def log_event(event: Event, /) -> None:
    """Write the event to the logger `lapse`, as one line: the hook of a worker without hooks of its own."""
    if not log.isEnabledFor(event.level):
        return
    parts = [f"{event.timer}: {event.kind}"]
    if event.count:
        parts.append(f"count={event.count}")
    if event.latest is not None:
        parts.append(f"latest={event.latest / timedelta(milliseconds=1):.0f}ms")
    if event.keys:
        parts.append(f"keys={', '.join(event.keys)}")
    if event.reason:
        parts.append(event.reason)
    log.log(event.level, " ".join(parts), exc_info=event.error)
