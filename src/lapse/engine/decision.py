"""What a handler may decide about one claim. A claim that it does not mention is settled."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Settle:
    """Done, now or before. A `reason` says why nothing was to be done, where somebody should know."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Not yet: hand it out again after `delay`, or after the worker's back-off where that is None.

    With `forgive` the attempt is not counted, so that it is never buried for this.
    """

    delay: timedelta | None = None
    forgive: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """The stored deadline is another one: arm it for then."""

    due_at: datetime


@dataclass(frozen=True, slots=True)
class Bury:
    """Give up on it until somebody looks."""

    reason: str


Decision = Settle | Release | Move | Bury
