"""What a worker tells those who watch it: one frozen record, one hook."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

log = logging.getLogger("lapse")


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
    """It has looked and found nothing, or could not look: a sign of life, at least every few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to one timer's work.

    `count` is the number of orders concerned and `keys` names the first few. `seconds` is how long it took.
    `latest` and `earliest` say how late the latest and the least late of them were handed out.
    """

    kind: Kind
    timer: str
    count: int = 0
    keys: tuple[str, ...] = ()
    seconds: float = 0.0
    earliest: timedelta | None = None
    latest: timedelta | None = None
    reason: str = ""
    error: BaseException | None = None


class Hook(Protocol):
    """Anything that takes an event. It must be quick; it is called between two batches."""

    def __call__(self, event: Event, /) -> None:
        """Take note of the event."""
        ...


def emit(hooks: Iterable[Hook], event: Event) -> None:
    """Tell every hook. One that fails is logged and costs the orders nothing."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:
            log.exception("a hook failed on %s; the work goes on", event.kind)


def log_event(event: Event, /) -> None:
    """Write the event to the standard library's logging: the hook of a worker that was given none."""
    level = _LEVELS.get(event.kind, logging.INFO)
    if not log.isEnabledFor(level):
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
    log.log(level, " ".join(parts), exc_info=event.error)


_LEVELS = {
    Kind.HANDLED: logging.DEBUG,
    Kind.FAILED: logging.WARNING,
    Kind.RELEASED: logging.DEBUG,
    Kind.IDLE: logging.DEBUG,
    Kind.DECLINED: logging.WARNING,
    Kind.UNFIT: logging.WARNING,
    Kind.LEASE_LOST: logging.WARNING,
    Kind.TIMER_LOST: logging.ERROR,
    Kind.TIMER_BACK: logging.WARNING,
    Kind.BURIED: logging.ERROR,
}
