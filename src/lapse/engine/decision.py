"""What a handler may decide about one claim. A claim that it does not mention is settled."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Settle:
    """Done, now or before. A `reason` says why there was nothing to do, where an operator should know."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Not yet: hand the claim out again after `delay`, or after the worker's back-off where that is None.

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
    """Do not try it any more, until an operator revives it."""

    reason: str


Decision = Settle | Release | Move | Bury
