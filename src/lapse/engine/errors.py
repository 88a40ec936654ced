"""What can go wrong, and what to do about it.

    LapseError
    ├── ConfigError            a setting is wrong: fix it and start again
    │   └── MissingLibrary     an optional library is missing; the message says how to install it
    ├── InvalidDeadline        a key or a time that no timer can take (also a ValueError)
    ├── TimerError
    │   ├── TimerUnavailable   no answer from the timer's server: try again, it may come back
    │   └── TimerRefused       the server refused: wrong version, rights or settings
    └── TryLater               raised by a handler: the orders are not at fault, so no attempt is counted

Each timer translates its driver's exceptions into these errors, in one place.
"""

from datetime import timedelta


class LapseError(Exception):
    """Every error that Lapse raises on purpose."""


class ConfigError(LapseError):
    """A setting is wrong. The message names it and says what to write instead."""


class MissingLibrary(ConfigError):
    """An optional library is not installed. The message shows the command that installs it from a checkout of Lapse.

    No package index has Lapse yet: a command without a path would find no package, or one of another author.
    """

    def __init__(self, what: str, extra: str, *, distribution: str = "lapse") -> None:
        path = "." if distribution == "lapse" else f"./{distribution}"
        super().__init__(f"{what} needs an optional library. In a checkout of Lapse run: pip install '{path}[{extra}]'")


class InvalidDeadline(LapseError, ValueError):
    """A key or a time that no timer can take. Nothing was armed."""


class TimerError(LapseError):
    """The timer could not carry out a call."""


class TimerUnavailable(TimerError):
    """The timer's server gave no answer. Whether the call took effect is unknown. Every call may be repeated."""


class TimerRefused(TimerError):
    """The timer's server refused. The message says what to change."""


class TryLater(LapseError):
    """A handler raises this when something that all orders need is unavailable, such as the database.

    The worker releases the whole batch, counts no attempt and buries nothing, however long the outage lasts.

    `after` is the shortest wait; if it is None, the worker's back-off decides.
    """

    def __init__(self, reason: str = "", *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after
