"""Opens the timer that a URL names: each URL scheme belongs to one mechanism."""

import re
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

from lapse.engine.errors import ConfigError, MissingLibrary
from lapse.engine.timer import Timer, Traits
from lapse.engine.url import MOST_SHOWN, Form, check_characters, nearest

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
    "redis+cluster": ("lapse.timers.redis.queue", "redis"),
    "redis+expiry": ("lapse.timers.redis.expiry", "redis"),
    "redis+expiry+cluster": ("lapse.timers.redis.expiry", "redis"),
    "redis+expiry+sentinel": ("lapse.timers.redis.expiry", "redis"),
    "redis+expiry+unix": ("lapse.timers.redis.expiry", "redis"),
    "redis+sentinel": ("lapse.timers.redis.queue", "redis"),
    "redis+unix": ("lapse.timers.redis.queue", "redis"),
    "rediss": ("lapse.timers.redis.queue", "redis"),
    "rediss+cluster": ("lapse.timers.redis.queue", "redis"),
    "rediss+expiry": ("lapse.timers.redis.expiry", "redis"),
    "rediss+expiry+cluster": ("lapse.timers.redis.expiry", "redis"),
    "rediss+expiry+sentinel": ("lapse.timers.redis.expiry", "redis"),
    "rediss+sentinel": ("lapse.timers.redis.queue", "redis"),
    "sqlite": ("lapse.timers.sql.sqlite", ""),
    "unix": ("lapse.timers.redis.queue", "redis"),
}
"""URL scheme → the mechanism's module, and the extras that install its libraries, "" for none."""

FORMS = {
    "amqp": "lapse.timers.rabbitmq.address",
    "amqps": "lapse.timers.rabbitmq.address",
    "mariadb": "lapse.timers.sql.mysql_address",
    "memory": "lapse.timers.memory",
    "mysql": "lapse.timers.sql.mysql_address",
    "postgres": "lapse.timers.sql.postgresql_address",
    "postgresql": "lapse.timers.sql.postgresql_address",
    "redis": "lapse.timers.redis.address",
    "rediss": "lapse.timers.redis.address",
    "sqlite": "lapse.timers.sql.sqlite_address",
    "unix": "lapse.timers.redis.address",
}
"""First word of a scheme, without `apscheduler+` → the module whose FORMS declare what URLs understand."""

ELSEWHERE = {
    "kombu": "amqp",
    "mysql2": "mysql",
    "pg": "postgresql",
    "pgsql": "postgresql",
    "psql": "postgresql",
    "pyamqp": "amqp",
    "rabbitmq": "amqp",
    "redis+socket": "redis+unix",
    "redis-cluster": "redis+cluster",
    "redis-sentinel": "redis+sentinel",
    "sentinel": "redis+sentinel",
    "valkey": "redis",
    "valkeys": "rediss",
}
"""Schemes of other software → the scheme to write here."""

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

    Raises ConfigError for any other URL. The message repeats nothing but the scheme: a URL may hold a password.
    """
    check_characters(url)
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?", url)
    scheme = found[1].lower() if found else ""
    if found and found[2]:
        if scheme in MECHANISMS:
            return scheme
        plain = scheme.partition("+")[0]  # SQLAlchemy's postgresql+psycopg:// names a driver too
        near = ELSEWHERE.get(scheme) or (plain if plain in MECHANISMS and not plain.startswith("redis") else None)
        near = near or nearest(scheme, MECHANISMS)
        hint = f"did you mean {near}://?" if near else f"use one of {_known()}"
        raise ConfigError(f"no timer understands {scheme[:MOST_SHOWN]}://: {hint}")
    if scheme in MECHANISMS:
        raise ConfigError(f"two slashes are missing after {scheme}: write {scheme}://")
    raise ConfigError(f"a timer's URL begins as redis://localhost:6379/0 does, with one of {_known()}")


def form_of(scheme: str) -> Form:
    """Return what the URLs of a scheme understand. No server is contacted. Raises as `traits_of` does."""
    module = _imported(FORMS[scheme.removeprefix("apscheduler+").partition("+")[0]], scheme)
    return cast("Form", module.FORMS[scheme])


def check_url(url: str) -> None:
    """Raise ConfigError for a timer's URL with a part that is not understood. No server is contacted."""
    form_of(scheme_of(url)).read(url)


def traits_of(scheme: str) -> Traits:
    """Return what the mechanism of a URL scheme promises. No server is contacted.

    Raises KeyError for a scheme that is not in MECHANISMS, MissingLibrary where its library is not installed.
    """
    return _mechanism(scheme).TRAITS


def _mechanism(scheme: str) -> Mechanism:
    return cast("Mechanism", _imported(MECHANISMS[scheme][0], scheme))


def _imported(module: str, scheme: str) -> ModuleType:
    extra = MECHANISMS[scheme][1]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if not extra or (error.name or "").startswith("lapse"):
            raise
        raise MissingLibrary(f"{scheme}://", extra) from error


def _known() -> str:
    """Return the schemes without their variants, such as `+sentinel`: all of them would be 28."""
    return ", ".join(f"{scheme}://" for scheme in sorted(MECHANISMS) if "+" not in scheme)
