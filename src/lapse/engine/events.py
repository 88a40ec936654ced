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
