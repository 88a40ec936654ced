"""A deadline table in PostgreSQL: claims skip what others have locked, sleepers are woken by LISTEN and NOTIFY."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from lapse.engine.errors import ConfigError
from lapse.engine.timer import Finding, Traits
from lapse.engine.waker import Waker
from lapse.timers.sql.connections import Connections, underlying
from lapse.timers.sql.database import Parameters, Place, Row
from lapse.timers.sql.postgresql_listener import PostgresListener
from lapse.timers.sql.postgresql_server import connect, conninfo, translated
from lapse.timers.sql.statements import statements
from lapse.timers.sql.timer import SqlTimer

TRAITS = Traits(
    mechanism="postgresql",
    durable=True,
    shared=True,
    can_disarm=True,
    transactional=True,
    ordered=True,
    precision=timedelta(milliseconds=1),
)

_STATEMENTS = {
    name: tuple(statement.encode() for statement in section) for name, section in statements("postgresql").items()
}


class PostgresDatabase:
    """One database of a PostgreSQL server; its clock decides."""

    traits = TRAITS
    dialect = "postgresql"

    def __init__(self, address: str) -> None:
        self._address = address
        self._connections = Connections(self._connect, socket_of=psycopg.Connection.fileno)
        self._listener = PostgresListener(lambda: connect(address))

    def read(self, name: str, parameters: Parameters) -> list[Row]:
        """Run a named statement."""
        return self.write(name, parameters)

    def write(self, name: str, parameters: Parameters) -> list[Row]:
        """Run the named statement; all of them are single, and so a transaction each."""
        with self._lent() as connection:
            (statement,) = _STATEMENTS[name]
            cursor = connection.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def write_in(self, connection: Any, name: str, parameters: Parameters) -> None:  # noqa: ANN401 - or what wraps it
        """Run the named statement in the transaction that the connection is in, waiting for locks for a moment only."""
        own = underlying(connection)
        if not isinstance(own, psycopg.Connection):
            raise ConfigError(f"to arm in a transaction takes a connection of psycopg; got {type(own).__name__}")
        # A cursor that fills in the parameters by itself may send several statements at once.
        with translated(), psycopg.ClientCursor(own) as cursor:
            cursor.execute(b";\n".join(_STATEMENTS["bound"] + _STATEMENTS[name] + _STATEMENTS["unbound"]), parameters)

    def place(self, *, make: bool) -> Place:
        """Ask by a connection of our own, which makes the table, or by one that does not."""
        if make:
            return _place(self.read("place", {}))
        with translated(), closing(connect(self._address)) as connection:
            return _place(connection.execute(_STATEMENTS["place"][0]).fetchall())

    def place_of(self, connection: Any) -> Place | None:  # noqa: ANN401 - or what wraps it
        """Ask by this connection."""
        own = underlying(connection)
        if not isinstance(own, psycopg.Connection):
            return None
        with translated(), own.cursor(row_factory=tuple_row) as cursor:
            return _place(cursor.execute(_STATEMENTS["place"][0]).fetchall())

    def watch(self, timer: str, waker: Waker) -> None:
        """Listen."""
        self._listener.ensure(timer, waker)

    def findings(self) -> list[Finding]:
        """Look at what a crash would lose."""
        ((version, fsync, commit, encoding, persistence),) = self.read("settings", {})
        found = [Finding(fit=True, text=f"PostgreSQL {version}")]
        if fsync == "off":
            found.append(Finding(fit=False, text="fsync off: a crash of the machine can lose everything: set fsync on"))
        if persistence != "p":
            text = "the table is not logged: a crash empties it: ALTER TABLE lapse_deadline SET LOGGED"
            found.append(Finding(fit=False, text=text))
        if commit == "off":
            found.append(Finding(fit=True, text="synchronous_commit off: a crash loses the last moment's deadlines"))
        if encoding != "UTF8":
            found.append(Finding(fit=False, text=f"the database is in {encoding}: keys need one in UTF8"))
        if all(finding.fit for finding in found):
            found.append(Finding(fit=True, text="a deadline that was armed outlives a crash"))
        return found

    def close(self) -> None:
        """Stop listening and close what is idle."""
        self._listener.close()
        self._connections.close()

    @contextmanager
    def _lent(self) -> Iterator[psycopg.Connection]:
        with translated(), self._connections.lend() as connection:
            yield connection

    def _connect(self) -> psycopg.Connection:
        """Connect, and make the table where there is none: it may have been dropped, or the database restored."""
        connection = connect(self._address)
        try:
            (exists,) = _STATEMENTS["exists"]
            if connection.execute(exists).fetchone() != (True,):
                with connection.transaction():
                    for statement in _STATEMENTS["schema"]:
                        connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection


def _place(rows: Sequence[Row]) -> Place:
    ((database, table),) = rows
    return Place(database, table)


class PostgresTimer(SqlTimer):
    """A timer in PostgreSQL."""

    traits = TRAITS


def open_from_url(url: str, *, name: str) -> PostgresTimer:
    """Open by URL, in the form that libpq takes, for example postgresql://user:password@localhost:5432/shop."""
    return PostgresTimer(PostgresDatabase(conninfo(url)), name)
