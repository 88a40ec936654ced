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
from lapse.timers.sql.database import Parameters, Place, Row
from lapse.timers.sql.sqlite_server import connect, file_of, translated, write_ahead
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
    # What was known when the sleep began is exact; of what another connection arms, the file's version tells.
    precision=timedelta(seconds=LOOK),
    clock="host",
)

_STATEMENTS = statements("sqlite")


class SqliteDatabase:
    """One file; the host's clock decides, read anew once the file is ours to write."""

    traits = TRAITS
    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0
        # SQLite's locks belong to the process: a child that opens the file beside its parent's connection takes none,
        # and when that one is closed the log is deleted, with whatever the child writes to it.
        self._connections = Connections(self._connect, crosses_forks=False)
        self._watch = SqliteWatch(Connections(self._open, crosses_forks=False), self._inode)

    def read(self, name: str, parameters: Parameters) -> list[Row]:
        """Run a named statement, which waits for no writer."""
        with self._lent() as connection:
            return _run(connection, name, {**parameters, "file": str(self._seen)})

    def write(self, name: str, parameters: Parameters) -> list[Row]:
        """Run the named statements in one transaction that has the file to itself from its beginning."""
        with self._lent() as connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = _run(connection, name, parameters)
            connection.execute("COMMIT")
            return rows

    def write_in(self, connection: Any, name: str, parameters: Parameters) -> None:  # noqa: ANN401 - or what wraps it
        """Run the named statements in the transaction that the connection is in."""
        own = underlying(connection)
        if not isinstance(own, sqlite3.Connection):
            raise ConfigError(f"to arm in a transaction takes a connection of sqlite3; got {type(own).__name__}")
        with self._translated():
            if not _has_table(own):
                _run(own, "schema", {})  # in this transaction: another connection would wait for its end
            _run(own, name, parameters)

    def place(self, *, make: bool) -> Place:  # noqa: ARG002 - arming makes the table
        """Name the file by its inode; nobody is asked."""
        return Place(_number(self._path), "lapse_deadline")

    def place_of(self, connection: Any) -> Place | None:  # noqa: ANN401 - or what wraps it
        """Ask which file it has open."""
        own = underlying(connection)
        if not isinstance(own, sqlite3.Connection):
            return None
        with self._translated(), closing(own.cursor()) as cursor:
            cursor.row_factory = None
            _, _, file = cursor.execute("PRAGMA database_list").fetchone()
            return Place(_number(Path(file)) if file else "in memory", "lapse_deadline")

    def watch(self, timer: str, waker: Waker) -> None:  # noqa: ARG002 - the file's version tells of all timers in it
        """Look at the file's version."""
        self._watch.ensure(waker)

    def findings(self) -> list[Finding]:
        """Look at what a crash would lose."""
        with self._lent() as connection:
            ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
        return [
            Finding(fit=True, text=f"SQLite {sqlite3.sqlite_version}"),
            Finding(fit=mode == "wal", text=f"journal mode {mode}" + ("" if mode == "wal" else ": set it to wal")),
            Finding(fit=True, text="a deadline that was armed outlives a crash; all processes must be on this host"),
        ]

    def close(self) -> None:
        """Stop watching and close what is idle."""
        self._watch.close()
        self._connections.close()

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            if self._seen and self._inode() != self._seen:
                self._connections.close()  # the file is gone, or another has come in its place
            with self._connections.lend() as connection:
                yield connection

    def _connect(self) -> sqlite3.Connection:
        """Open the file, and make the table where there is none."""
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
        """Number the file; 0 where there is none."""
        return self._path.stat().st_ino if self._path.exists() else 0

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path)


class SqliteTimer(SqlTimer):
    """A timer in an SQLite file."""

    traits = TRAITS


def open_from_url(url: str, *, name: str) -> SqliteTimer:
    """Open by URL: sqlite:///orders.db in the working directory, sqlite:////var/lib/shop/orders.db anywhere."""
    return SqliteTimer(SqliteDatabase(file_of(url)), name)


def _number(file: Path) -> str:
    """Number a file by its device and inode, as no other file is."""
    if not file.exists():
        return f"{file}, which is not there"
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
            cursor.row_factory = None  # an order's own connection may have one
            rows = cursor.execute(statement, values).fetchall()
    return rows
