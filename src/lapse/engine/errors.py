"""What can go wrong, and what to do about it.

    LapseError
    ├── ConfigError            a setting is wrong: mend it and start again
    │   └── MissingLibrary     an optional library is not installed: the message is the command
    ├── InvalidDeadline        a key or a time that no timer can take (also a ValueError)
    ├── TimerError
    │   ├── TimerUnavailable   no answer from the timer's server: try again, it may come back
    │   └── TimerRefused       the server answered no: wrong version, rights or settings
    └── TryLater               raised by a handler: not these orders' fault, so no attempt is counted

A driver's own exceptions are translated into these in one place per timer.
"""

from datetime import timedelta


class LapseError(Exception):
    """Every error that Lapse raises on purpose."""


class ConfigError(LapseError):
    """A setting is wrong. The message names it and says what to write instead."""


class MissingLibrary(ConfigError):
    """An optional library is not installed. The message has the command that installs it from a checkout of Lapse.

    No package index has Lapse yet: a command without a path would find no package, or one of another author.
    """

    def __init__(self, what: str, extra: str, *, distribution: str = "lapse") -> None:
        path = "." if distribution == "lapse" else f"./{distribution}"
        super().__init__(f"{what} needs an optional library. In a checkout of Lapse run: pip install '{path}[{extra}]'")


class InvalidDeadline(LapseError, ValueError):
    """A key or a time that no timer can take. Nothing was armed."""


class TimerError(LapseError):
    """The timer could not do what it was asked."""


class TimerUnavailable(TimerError):
    """The timer's server gave no answer. Whether the call took effect is unknown; every call may be repeated."""


class TimerRefused(TimerError):
    """The timer's server answered, and the answer was no. The message says what to change."""


class TryLater(LapseError):
    """Raised by a handler when something that all orders need is away, such as the database.

    The whole batch is given back, no attempt is counted and nothing is buried, however long it lasts.

    `after` is how long to wait, at the least; the worker's own back-off decides where it is None.
    """

    def __init__(self, reason: str = "", *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after
