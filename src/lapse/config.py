"""From settings to parts: which timer a URL means."""

import re
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import cast
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
"""URL scheme → the module that is the mechanism, and the extra that installs its library."""


NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def open_timer(url: str, *, name: str) -> Timer:
    """Open the timer that the URL's scheme chooses.

    `name` says of what kind its deadlines are, such as "orders". Timers of one name on one server share their
    deadlines; those of different names do not meet.

    Raises ConfigError for a URL that no mechanism understands, MissingLibrary where its library is not installed,
    TimerUnavailable or TimerRefused where the server cannot be reached or is unfit.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"a timer's name is 1 to 100 letters, digits, '_', '-' and '.'; got {name!r}")
    scheme = _scheme(url)
    if scheme not in MECHANISMS:
        what = repr(scheme) if scheme else "a URL that begins with none"
        raise ConfigError(f"no timer understands {what}: use one of {', '.join(sorted(MECHANISMS))}")
    opened = cast(Callable[..., Timer], _mechanism(scheme).open_from_url)
    return opened(url, name=name)


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:  # which may name a part of a password, so it is not repeated
        raise ConfigError(
            "the timer's URL cannot be read: write [ and ] as %5B and %5D, unless they are around an IPv6 address"
        ) from None


def traits_of(scheme: str) -> Traits:
    """Say what the mechanism behind a URL scheme promises, without asking any server.

    Raises KeyError for a scheme that MECHANISMS has not, MissingLibrary where its library is not installed.
    """
    module = _mechanism(scheme)
    own = [thing for thing in vars(module).values() if getattr(thing, "__module__", "") == module.__name__]
    found = {traits for thing in own if isinstance(traits := getattr(thing, "traits", None), Traits)}
    (traits,) = found  # the classes of a mechanism are of one mind
    return traits


def _mechanism(scheme: str) -> ModuleType:
    module, extra = MECHANISMS[scheme]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("lapse"):
            raise
        raise MissingLibrary(f"{scheme}://", extra) from error
