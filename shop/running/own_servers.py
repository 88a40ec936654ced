"""The servers that a run can have of its own, and which of them a timer's bare scheme means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lapse.testing.servers import MariaDbServer, PostgresServer, PrivateServer, RabbitServer, RedisServer


@dataclass(frozen=True, slots=True)
class OwnServer:
    """One that is started where no address is given: its store, name and folder in the run's, and how it is made."""

    store: str
    name: str
    folder: str
    make: Callable[[Path], PrivateServer]


OWN_SERVERS: Mapping[str, OwnServer] = {
    own.store: own
    for own in (
        OwnServer("mysql", "MariaDB", "mariadb", lambda folder: MariaDbServer(folder, durable=True)),
        OwnServer("postgresql", "PostgreSQL", "postgres", lambda folder: PostgresServer(folder, durable=True)),
        OwnServer("rabbitmq", "RabbitMQ", "rabbitmq", RabbitServer),
        OwnServer("redis", "Redis", "redis", lambda folder: RedisServer(folder, appendonly=True)),
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
"""A word of a URL's scheme → where such a timer keeps its deadlines: a key of OWN_SERVERS, or FILE."""


def store_of(scheme: str) -> str | None:
    """Say where a bare scheme keeps its deadlines in this run; None where it needs an address.

    >>> store_of("redis+expiry"), store_of("sqlite"), store_of("memory")
    ('redis', 'sqlite', None)
    """
    return next((STORES[word] for word in scheme.split("+") if word in STORES), None)


def address(scheme: str, url: str) -> str:
    """Give the mechanism of a bare scheme the address of its server: with password, TLS and database.

    >>> address("redis+expiry", "rediss://:secret@example.org:6379/0")
    'rediss+expiry://:secret@example.org:6379/0'
    """
    given, rest = url.split("://", 1)
    protocol, *topology = given.split("+")
    words = scheme.split("+")
    at = next(index for index, word in enumerate(words) if word in STORES)
    # What stands before the protocol and what stands behind it stay where they are: the mechanism's own.
    return "+".join([*words[:at], protocol, *words[at + 1 :], *topology]) + "://" + rest


def file_in(folder: Path) -> str:
    """Address the file of a timer in SQLite."""
    return f"sqlite:///{folder / 'timer' / 'deadlines.sqlite3'}"
