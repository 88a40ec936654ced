"""The servers that a run can start, and which of them a timer's bare scheme means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lapse.testing.servers import MariaDbServer, PostgresServer, PrivateServer, RabbitServer, RedisServer


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server that is started if no address is given: its store, its folder within the run's, its maker."""

    store: str
    folder: str
    make: Callable[[Path], PrivateServer]


OWN_SERVERS: Mapping[str, OwnServer] = {
    own.store: own
    for own in (
        OwnServer("mysql", "mariadb", lambda folder: MariaDbServer(folder, durable=True)),
        OwnServer("postgresql", "postgres", lambda folder: PostgresServer(folder, durable=True)),
        OwnServer("rabbitmq", "rabbitmq", RabbitServer),
        OwnServer("redis", "redis", lambda folder: RedisServer(folder, appendonly=True)),
    )
}

FILE = "sqlite"
"""The store that needs no server: a file in the run's folder."""

STORES: Mapping[str, str] = {
    "amqp": "rabbitmq",
    "mariadb": "mysql",
    "mysql": "mysql",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "redis": "redis",
    "rediss": "redis",
    "sqlite": FILE,
}
"""A word of a URL's scheme → the store of such a timer's deadlines: a key of OWN_SERVERS, or FILE."""


def store_of(scheme: str) -> str | None:
    """Return the store in which a bare scheme keeps its deadlines in this run; None if the scheme needs an address.

    >>> store_of("redis+expiry"), store_of("sqlite"), store_of("memory")
    ('redis', 'sqlite', None)
    """
    return next((STORES[word] for word in scheme.split("+") if word in STORES), None)


def address(scheme: str, url: str) -> str:
    """Return the URL of a bare scheme at the address of its server: with password, TLS and database.

    >>> address("redis+expiry", "rediss://:secret@example.org:6379/0")
    'rediss+expiry://:secret@example.org:6379/0'
    """
    given, rest = url.split("://", 1)
    protocol, *topology = given.split("+")
    words = scheme.split("+")
    at = next(index for index, word in enumerate(words) if word in STORES)
    # The words before and after the protocol belong to the mechanism and keep their places.
    return "+".join([*words[:at], protocol, *words[at + 1 :], *topology]) + "://" + rest


def file_in(folder: Path) -> str:
    """Return the URL of the file of a timer in SQLite."""
    return f"sqlite:///{folder / 'timer' / 'deadlines.sqlite3'}"
