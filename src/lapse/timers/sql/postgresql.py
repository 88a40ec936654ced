"""A deadline table in PostgreSQL: claims skip locked rows (SKIP LOCKED), LISTEN and NOTIFY wake waiting claims."""

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
from lapse.timers.sql.database import Location, Parameters, Row
from lapse.timers.sql.postgresql_address import connect, conninfo
from lapse.timers.sql.postgresql_errors import translated
from lapse.timers.sql.postgresql_listener import PostgresListener
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

EARLIER_TABLE = (
    "the table's keys are of an earlier version, so a claim may read all pending deadlines: ALTER TABLE lapse_deadline "
    "DROP CONSTRAINT lapse_deadline_pkey, ADD PRIMARY KEY (key, timer); DROP INDEX lapse_deadline_visible, "
    "lapse_deadline_leased, lapse_deadline_buried; then run the SQL that `lapse schema` shows"
)

MOST_DEAD = 100_000
"""Deleted rows that the server still keeps. So many delay a claim by about 60 ms while an old transaction is open."""

_STATEMENTS = {
    name: tuple(statement.encode() for statement in section) for name, section in statements("postgresql").items()
}


class PostgresDatabase:
    """One database of a PostgreSQL server. The server's clock decides what is due."""

    traits = TRAITS
    dialect = "postgresql"

    def __init__(self, address: str) -> None:
        self._address = address
        self._connections = Connections(self._connect, socket_of=psycopg.Connection.fileno)
        self._listener = PostgresListener(lambda: connect(address))

    def read(self, name: str, parameters: Parameters) -> list[Row]:
        """Run a named statement. Return its rows."""
        return self.write(name, parameters)

    def write(self, name: str, parameters: Parameters) -> list[Row]:
        """Run the named statement as one transaction, since every section has one statement. Return its rows."""
        with self._lent() as connection:
            (statement,) = _STATEMENTS[name]
            cursor = connection.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def write_in(self, connection: Any, name: str, parameters: Parameters) -> None:  # noqa: ANN401 - or a wrapper
        """Run the named statement in the current transaction of the connection, and wait for locks only briefly."""
        own = underlying(connection)
        if not isinstance(own, psycopg.Connection):
            raise ConfigError(f"arming in a transaction needs a connection of psycopg; got {type(own).__name__}")
        # A cursor that inserts the parameters on the client's side may send several statements at once.
        with translated(), psycopg.ClientCursor(own) as cursor:
            cursor.execute(b";\n".join(_STATEMENTS["bound"] + _STATEMENTS[name] + _STATEMENTS["unbound"]), parameters)

    def location(self, *, make: bool) -> Location:
        """Return the location that a connection of this timer sees. With `make`, create a missing table."""
        if make:
            return _location(self.read("location", {}))
        with translated(), closing(connect(self._address)) as connection:
            return _location(connection.execute(_STATEMENTS["location"][0]).fetchall())

    def location_of(self, connection: Any) -> Location | None:  # noqa: ANN401 - or a wrapper
        """Return the location that this connection sees; None for a connection of another driver."""
        own = underlying(connection)
        if not isinstance(own, psycopg.Connection):
            return None
        with translated(), own.cursor(row_factory=tuple_row) as cursor:
            return _location(cursor.execute(_STATEMENTS["location"][0]).fetchall())

    def watch(self, timer: str, waker: Waker) -> None:
        """Listen for notifications of this timer."""
        self._listener.ensure(timer, waker)

    def findings(self) -> list[Finding]:
        """Return findings on what a crash would lose, and on what makes claims late."""
        ((version, fsync, commit, encoding, persistence, is_new, dead_rows),) = self.read("settings", {})
        found = [Finding(fit=True, text=f"PostgreSQL {version}")]
        if fsync == "off":
            found.append(Finding(fit=False, text="fsync off: a crash of the machine can lose everything: set fsync on"))
        if persistence != "p":
            text = "the table is not logged: a crash empties it: ALTER TABLE lapse_deadline SET LOGGED"
            found.append(Finding(fit=False, text=text))
        if commit == "off":
            found.append(Finding(fit=True, text="synchronous_commit off: a crash loses the last moment's deadlines"))
        if encoding != "UTF8":
            found.append(Finding(fit=False, text=f"the database's encoding is {encoding}: keys need UTF8"))
        if all(finding.fit for finding in found):
            found.append(Finding(fit=True, text="an armed deadline survives a crash"))
        if not is_new:
            found.append(Finding(fit=False, text=EARLIER_TABLE))
        if dead_rows > MOST_DEAD:
            text = f"{dead_rows} dead rows make claims late: end transactions that are open for long, and run VACUUM"
            found.append(Finding(fit=False, text=text))
        return found

    def close(self) -> None:
        """Stop listening and close the connections."""
        self._listener.close()
        self._connections.close()

    @contextmanager
    def _lent(self) -> Iterator[psycopg.Connection]:
        with translated(), self._connections.lend() as connection:
            yield connection

    def _connect(self) -> psycopg.Connection:
        """Return a new connection. A missing table is created: it may have been dropped, or the database restored."""
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


def _location(rows: Sequence[Row]) -> Location:
    ((database, table),) = rows
    return Location(database, table)


class PostgresTimer(SqlTimer):
    """A timer in PostgreSQL."""

    traits = TRAITS


def open_from_url(url: str, *, name: str) -> PostgresTimer:
    """Return a timer by URL in libpq's form, for example postgresql://user:password@localhost:5432/shop."""
    return PostgresTimer(PostgresDatabase(conninfo(url)), name)
