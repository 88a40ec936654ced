"""The events that a worker reports, the hook that receives them, and the log level of each kind."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from lapse.engine.deadline import Claim, Deadline
from lapse.engine.errors import LapseError
from lapse.engine.visible import VisibleRecords, one_line, visible_key

log = logging.getLogger("lapse")
log.addFilter(VisibleRecords())

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
    RECONCILED = "money reconciled"
    UNREADABLE = "orders unreadable"
    WATCHING = "watching keys"
    DECLINED = "delivery declined"
    LEARNT = "keys learnt"
    LEFT_OUT = "keys left out"
    UNMATCHED = "no key matches"
    UNFIT = "server unfit"
    IDLE = "nothing to do"
    """A sign of life, at least every few seconds: the worker found nothing due, or could not reach the timer."""


LEVELS: Mapping[Kind, int] = {
    Kind.IDLE: logging.DEBUG,
    Kind.RELEASED: logging.DEBUG,
    Kind.DECLINED: logging.WARNING,
    Kind.FAILED: logging.WARNING,
    Kind.LEASE_LOST: logging.WARNING,
    Kind.UNFIT: logging.WARNING,
    Kind.UNMATCHED: logging.WARNING,
    Kind.BURIED: logging.ERROR,
    Kind.UNREADABLE: logging.ERROR,
    Kind.TIMER_LOST: logging.ERROR,
}
"""The level at which each kind of event is logged; a kind that is missing is logged at INFO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One report about the work on one timer.

    `count` is the number of orders concerned, and `keys` names the first few. `seconds` is how long the work took.

    `lateness` has one entry for each claim that the event is about: how long after its deadline the claim was handed
    out, by the timer's clock. A histogram of lateness uses the entries of all HANDLED events.
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
    """A callable that receives events. It must be quick, because the worker calls it between two batches."""

    def __call__(self, event: Event, /) -> None:
        """Receive the event."""
        ...


def named(deadlines: Sequence[Claim | Deadline]) -> tuple[str, ...]:
    """Return the keys of the first few of these deadlines, for an event."""
    return tuple([deadline.key for deadline in deadlines[:KEYS_NAMED]])


def emit(hooks: Iterable[Hook], event: Event) -> None:
    """Call every hook. If a hook raises, the error is logged and the work goes on."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:
            log.exception("a hook failed on %s; the work goes on", event.kind)


def log_event(event: Event, /) -> None:
    """Write the event to the logger `lapse`, as one line. A worker uses this hook unless it gets other hooks.

    Keys are whole, so that they can be copied, and unprintable characters are escaped.
    """
    if not log.isEnabledFor(event.level):
        return
    parts = [f"{event.timer}: {event.kind}"]
    if event.count:
        parts.append(f"count={event.count}")
    if event.latest is not None:
        parts.append(f"latest={event.latest / timedelta(milliseconds=1):.0f}ms")
    if event.keys:
        parts.append(f"keys={', '.join(visible_key(key) for key in event.keys)}")
    if event.reason:
        parts.append(one_line(event.reason))
    # The message of a LapseError is enough. Any other error is a bug, so its traceback is needed.
    expected = isinstance(event.error, LapseError)
    if expected:
        error = one_line(event.error)
        parts.append(f"({error})" if event.reason else error)
    log.log(event.level, " ".join(parts), exc_info=None if expected else event.error)
