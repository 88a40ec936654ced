"""Opens the timer that a URL names: each URL scheme belongs to one mechanism."""

import re
from importlib import import_module
from typing import Protocol, cast
from urllib.parse import urlsplit

from lapse.engine.errors import ConfigError, MissingLibrary
from lapse.engine.timer import Timer, Traits

MECHANISMS = {
    "amqp": ("lapse.timers.rabbitmq.timer", "rabbitmq"),
    "amqps": ("lapse.timers.rabbitmq.timer", "rabbitmq"),
    "apscheduler+postgres": ("lapse.timers.apscheduler.timer", "apscheduler,postgresql"),
    "apscheduler+postgresql": ("lapse.timers.apscheduler.timer", "apscheduler,postgresql"),
    "apscheduler+redis": ("lapse.timers.apscheduler.timer", "apscheduler,redis"),
    "apscheduler+rediss": ("lapse.timers.apscheduler.timer", "apscheduler,redis"),
    "apscheduler+sqlite": ("lapse.timers.apscheduler.timer", "apscheduler"),
    "mariadb": ("lapse.timers.sql.mysql", "mysql"),
    "memory": ("lapse.timers.memory", ""),
    "mysql": ("lapse.timers.sql.mysql", "mysql"),
    "postgres": ("lapse.timers.sql.postgresql", "postgresql"),
    "postgresql": ("lapse.timers.sql.postgresql", "postgresql"),
    "redis": ("lapse.timers.redis.queue", "redis"),
    "rediss": ("lapse.timers.redis.queue", "redis"),
    "redis+sentinel": ("lapse.timers.redis.queue", "redis"),
    "redis+cluster": ("lapse.timers.redis.queue", "redis"),
    "redis+expiry": ("lapse.timers.redis.expiry", "redis"),
    "rediss+expiry": ("lapse.timers.redis.expiry", "redis"),
    "redis+expiry+sentinel": ("lapse.timers.redis.expiry", "redis"),
    "redis+expiry+cluster": ("lapse.timers.redis.expiry", "redis"),
    "sqlite": ("lapse.timers.sql.sqlite", ""),
}
"""URL scheme → the mechanism's module, and the extras that install its libraries, "" for none."""


NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Mechanism(Protocol):
    """The interface of each module in MECHANISMS."""

    TRAITS: Traits

    def open_from_url(self, url: str, *, name: str) -> Timer:
        """Return a timer by URL. Raises as `open_timer` does."""
        ...


def open_timer(url: str, *, name: str) -> Timer:
    """Return the timer that the URL's scheme chooses.

    `name` is the kind of its deadlines, such as "orders". Timers with one name on one server share their deadlines.
    Timers with different names are independent.

    Raises ConfigError for a URL that no mechanism understands, and MissingLibrary where its library is not installed.
    Raises TimerUnavailable where the server cannot be reached, and TimerRefused where the server is unfit.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"a timer's name is 1 to 100 letters, digits, '_', '-' and '.'; got {name!r}")
    return _mechanism(scheme_of(url)).open_from_url(url, name=name)


def scheme_of(url: str) -> str:
    """Return the scheme of a timer's URL, which is a key of MECHANISMS. No server is contacted.

    Raises ConfigError for any other URL. The message never repeats the URL, which may hold a password.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise ConfigError(
            "the timer's URL cannot be read: write [ and ] as %5B and %5D, unless they are around an IPv6 address"
        ) from None
    if scheme not in MECHANISMS:
        what = repr(scheme) if scheme else "a URL without a scheme"
        raise ConfigError(f"no timer understands {what}: use one of {', '.join(sorted(MECHANISMS))}")
    return scheme


def traits_of(scheme: str) -> Traits:
    """Return what the mechanism of a URL scheme promises. No server is contacted.

    Raises KeyError for a scheme that is not in MECHANISMS, MissingLibrary where its library is not installed.
    """
    return _mechanism(scheme).TRAITS


def _mechanism(scheme: str) -> Mechanism:
    module, extra = MECHANISMS[scheme]
    try:
        return cast(Mechanism, import_module(module))
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("lapse"):
            raise
        raise MissingLibrary(f"{scheme}://", extra) from error
