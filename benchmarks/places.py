"""Where deadlines are kept: a private server for each kind of URL, what it weighs, and how it is killed.

A new kind of server is one entry of `PLACES`.
"""

import os
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pymysql

from lapse.config import MECHANISMS
from lapse.testing.redis_wire import info
from lapse.testing.servers import MariaDbServer, PostgresServer, PrivateServer, RabbitServer, RedisServer


@dataclass(frozen=True, slots=True)
class Place:
    """One place, started.

    `weight` says in bytes how much is there, by the server's own account. `about` has its version and the settings
    that decide what a crash costs. `server` is None where the deadlines are in no process of their own. `analyse` lets
    an SQL database count its rows for its planner, as it does by itself within a minute.
    """

    address: str
    weight: Callable[[], int]
    about: Callable[[], str]
    server: PrivateServer | None = None
    analyse: Callable[[], None] = lambda: None

    def url(self, scheme: str) -> str:
        """Return the address, with this scheme."""
        return f"{scheme}:{self.address.partition(':')[2]}"

    def close(self) -> None:
        """End its server, if it has one."""
        if self.server:
            self.server.close()


def _memory(_folder: Path) -> Place:
    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    return Place("memory://", resident, lambda: "this process's memory")


def _amqp(folder: Path) -> Place:
    server = RabbitServer(folder).start()

    def on_disk() -> int:  # its memory falls and rises by as much as all messages weigh
        files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".log")
        return sum(file.stat().st_size for file in files)

    return Place(
        server.url,
        on_disk,
        lambda: f"RabbitMQ {server.version}, quorum queues on one node",
        server,
    )


def _redis(folder: Path) -> Place:
    server = RedisServer(folder).start()
    return Place(
        server.url,
        lambda: int(info(server.port, "memory")["used_memory"]),
        lambda: f"{server.name} {server.version}, nothing on disk",
        server,
    )


def _postgresql(folder: Path) -> Place:
    server = PostgresServer(folder, durable=True).start()

    def ask(question: str) -> str:
        with psycopg.connect(server.url) as connection:
            (answer,) = connection.execute(question).fetchone() or ("",)
            return str(answer)

    def analyse() -> None:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ANALYZE")
            connection.execute("CHECKPOINT")  # else the first commits wait for the disk, which still writes the filling

    size = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND relnamespace = "
    return Place(
        server.url,
        lambda: int(ask(size + "'public'::regnamespace")),
        lambda: f"PostgreSQL {ask('SHOW server_version').split()[0]}, fsync on",
        server,
        analyse,
    )


def _mysql(folder: Path) -> Place:
    server = MariaDbServer(folder, durable=True).start()
    address = urlsplit(server.url)

    def ask(question: str) -> str:
        connection = pymysql.connect(
            host=address.hostname, port=address.port or 0, user=address.username, database=address.path.strip("/")
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(question)
            return str((cursor.fetchone() or ("",))[0])

    def size() -> int:
        tables = "FROM information_schema.tables WHERE table_schema = DATABASE()"
        if ask(f"SELECT count(*) {tables}") == "0":
            return 0
        analyse()
        return int(ask(f"SELECT sum(data_length + index_length) {tables}"))

    def analyse() -> None:
        ask("ANALYZE TABLE lapse_deadline")

    version = re.compile(r"[\d.]+")
    return Place(
        server.url,
        size,
        lambda: f"MariaDB {version.findall(ask('SELECT version()'))[0]}, flushed at each commit",
        server,
        analyse,
    )


def _sqlite(folder: Path) -> Place:
    file = folder / "deadlines.db"

    def size() -> int:
        if not file.exists():
            return 0
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return file.stat().st_size

    def analyse() -> None:
        with closing(sqlite3.connect(file)) as database:
            database.execute("ANALYZE")

    return Place(
        f"sqlite:///{file}",
        size,
        lambda: f"SQLite {sqlite3.sqlite_version}, a file in WAL mode",
        analyse=analyse,
    )


PLACES: Mapping[str, Callable[[Path], Place]] = {
    "amqp": _amqp,
    "memory": _memory,
    "mysql": _mysql,
    "postgresql": _postgresql,
    "redis": _redis,
    "sqlite": _sqlite,
}
"""The part of a URL's scheme that names the server → how one is started, with its files in a folder of its own."""


def kind_of(scheme: str) -> str:
    """Return the place of a URL's scheme, such as "redis" for "redis+expiry"; "" where there is none to start."""
    return next((part for part in scheme.split("+") if part in PLACES), "")


def schemes() -> list[str]:
    """Return each mechanism's plainest scheme for each place it can be at, in the order of their names.

    Those by TLS, Sentinel or a cluster are the same mechanism by a longer way, and not measured again.
    """
    plainest: dict[tuple[str, str], str] = {}
    for scheme in sorted(MECHANISMS, key=lambda scheme: (len(scheme), scheme)):
        if kind := kind_of(scheme):
            plainest.setdefault((MECHANISMS[scheme][0], kind), scheme)
    return sorted(plainest.values())
