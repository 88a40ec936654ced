"""A deadline that is not stored: it is a fixed time after another field of the order."""

from dataclasses import dataclass
from datetime import timedelta

from lapse.engine.errors import ConfigError

LONGEST = timedelta(days=36525)
"""The longest window, a hundred years, so that no deadline is beyond the times that a database can store."""


@dataclass(frozen=True, slots=True, init=False)
class Since:
    """A deadline that is `window` after the time in `field`, for shops whose orders have no field for the deadline.

        deadline = Since("placed_at", minutes=30)

    `field` names the time at which the order was placed. It must never change afterwards, and needs an index. One order
    cannot get more time than the others, because no column stores its deadline: use a deadline field, or `postpone`.

    Raises ConfigError if the window is not positive, or longer than a hundred years.
    """

    field: str
    window: timedelta

    def __init__(
        self, field: str, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        window = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if not timedelta(0) < window <= LONGEST:
            raise ConfigError(f"Since({field!r}, …) needs a time from then on, as minutes=30; got {window}")
        object.__setattr__(self, "field", field)  # the class is frozen
        object.__setattr__(self, "window", window)


def field_of(deadline: str | Since) -> str:
    """Return the name of the field that a shop's deadline is in, or counts from."""
    return deadline.field if isinstance(deadline, Since) else deadline
