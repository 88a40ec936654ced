"""The decisions that a handler may return for a claim. A claim without a decision is settled."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Settle:
    """The work is done, now or earlier. `reason` tells operators why there was nothing to do, if they should know."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Not yet: hand the claim out again after `delay`. If `delay` is None, the worker's back-off decides.

    With `forgive` the attempt is not counted, so that the deadline is never buried for this.
    """

    delay: timedelta | None = None
    forgive: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """The order has another deadline: arm it for that time."""

    due_at: datetime


@dataclass(frozen=True, slots=True)
class Bury:
    """Do not try the deadline again until an operator revives it."""

    reason: str


Decision = Settle | Release | Move | Bury
