"""A deadline table in one SQLite file, for several processes of one host."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import EPOCH, MILLISECOND
from lapse.engine.errors import ConfigError
from lapse.engine.timer import Finding, Traits
from lapse.engine.waker import Waker
from lapse.timers.sql.connections import Connections, underlying
from lapse.timers.sql.database import Location, Parameters, Row
from lapse.timers.sql.sqlite_address import connect, file_of, write_ahead
from lapse.timers.sql.sqlite_errors import translated
from lapse.timers.sql.sqlite_watch import LOOK, SqliteWatch
from lapse.timers.sql.statements import statements
from lapse.timers.sql.timer import SqlTimer

TRAITS = Traits(
    mechanism="sqlite",
    durable=True,
    shared=True,
    can_disarm=True,
    transactional=True,
    ordered=True,
    # A deadline armed before the wait began is exact. A look finds a deadline that another connection arms later.
    precision=timedelta(seconds=LOOK),
    clock="host",
)

_STATEMENTS = statements("sqlite")


class SqliteDatabase:
    """One file. The host's clock decides what is due; it is read after this process has the write lock."""

    traits = TRAITS
    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0
        # SQLite's locks belong to the process. In a child with an inherited connection, the child's new connections do
        # not lock the file. Closing the inherited connection deletes the log, with everything that the child has
        # written.
        self._connections = Connections(self._connect, crosses_forks=False)
        self._watch = SqliteWatch(Connections(self._open, crosses_forks=False), self._inode)

    def read(self, name: str, parameters: Parameters) -> list[Row]:
        """Run a named statement, which waits for no writer. Return its rows."""
        with self._lent() as connection:
            return _run(connection, name, {**parameters, "file": str(self._seen)})

    def write(self, name: str, parameters: Parameters) -> list[Row]:
        """Run the named statements in one transaction, which locks the file for writing. Return the last rows."""
        with self._lent() as connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = _run(connection, name, parameters)
            connection.execute("COMMIT")
            return rows

    def write_in(self, connection: Any, name: str, parameters: Parameters) -> None:  # noqa: ANN401 - or a wrapper
        """Run the named statements in the current transaction of the connection."""
        own = underlying(connection)
        if not isinstance(own, sqlite3.Connection):
            raise ConfigError(f"arming in a transaction needs a connection of sqlite3; got {type(own).__name__}")
        with self._translated():
            if not _has_table(own):
                _run(own, "schema", {})  # in this transaction: another connection would wait until it ends
            _run(own, name, parameters)

    def location(self, *, make: bool) -> Location:  # noqa: ARG002 - arming creates the table
        """Return the file, named by its device and inode."""
        return Location(_number(self._path), "lapse_deadline")

    def location_of(self, connection: Any) -> Location | None:  # noqa: ANN401 - or a wrapper
        """Return the file that the connection has open; None for another driver."""
        own = underlying(connection)
        if not isinstance(own, sqlite3.Connection):
            return None
        with self._translated(), closing(own.cursor()) as cursor:
            cursor.row_factory = None
            _, _, file = cursor.execute("PRAGMA database_list").fetchone()
            return Location(_number(Path(file)) if file else "in memory", "lapse_deadline")

    def watch(self, timer: str, waker: Waker) -> None:  # noqa: ARG002 - the file's version is of all timers in it
        """Watch the file's version."""
        self._watch.ensure(waker)

    def findings(self) -> list[Finding]:
        """Return findings on what a crash would lose."""
        with self._lent() as connection:
            ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
        return [
            Finding(fit=True, text=f"SQLite {sqlite3.sqlite_version}"),
            Finding(fit=mode == "wal", text=f"journal mode {mode}" + ("" if mode == "wal" else ": set it to wal")),
            Finding(fit=True, text="an armed deadline survives a crash; all processes must be on this host"),
        ]

    def close(self) -> None:
        """Stop watching and close the connections."""
        self._watch.close()
        self._connections.close()

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            if self._seen and self._inode() != self._seen:
                self._connections.close()  # the file is gone, or another file has taken its place
            with self._connections.lend() as connection:
                yield connection

    def _connect(self) -> sqlite3.Connection:
        """Return a new connection. A missing table is created."""
        connection = self._open()
        try:
            write_ahead(connection)
            if not _has_table(connection):
                connection.execute("BEGIN IMMEDIATE")
                _run(connection, "schema", {})
                connection.execute("COMMIT")
            self._seen = self._inode()
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> sqlite3.Connection:
        return connect(self._path)

    def _inode(self) -> int:
        """Return the file's inode, or 0 if there is no file."""
        return self._path.stat().st_ino if self._path.exists() else 0

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path)


class SqliteTimer(SqlTimer):
    """A timer in an SQLite file."""

    traits = TRAITS


def open_from_url(url: str, *, name: str) -> SqliteTimer:
    """Return a timer by URL: sqlite:///orders.db (a relative path) or sqlite:////var/lib/shop/orders.db."""
    return SqliteTimer(SqliteDatabase(file_of(url)), name)


def _number(file: Path) -> str:
    """Return the file's device and inode, which no other file has."""
    if not file.exists():
        return f"{file}, which does not exist"
    status = file.stat()
    return f"{status.st_dev}/{status.st_ino}"


def _has_table(connection: sqlite3.Connection) -> bool:
    ((exists,),) = _run(connection, "exists", {})
    return bool(exists)


def _run(connection: sqlite3.Connection, name: str, parameters: Parameters) -> list[Row]:
    rows: list[Row] = []
    values = {**parameters, "now": (SYSTEM_CLOCK.now() - EPOCH) // MILLISECOND}
    for statement in _STATEMENTS[name]:
        with closing(connection.cursor()) as cursor:
            cursor.row_factory = None  # an order's own connection may have a row factory
            rows = cursor.execute(statement, values).fetchall()
    return rows
