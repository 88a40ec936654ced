"""A deadline table in MySQL or MariaDB: claims skip locked rows, and a cheap look finds newly armed deadlines."""

import json
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import Cursor

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import ConfigError
from lapse.engine.timer import Finding, Traits
from lapse.engine.waker import Waker
from lapse.timers.sql.batches import MOST_ROWS
from lapse.timers.sql.connections import Connections, underlying
from lapse.timers.sql.database import Location, Parameters, Row
from lapse.timers.sql.mysql_address import Settings, connect, settings_of
from lapse.timers.sql.mysql_errors import errors_of, is_forbidden, translated
from lapse.timers.sql.mysql_watch import LOOK, MysqlWatch
from lapse.timers.sql.statements import statements
from lapse.timers.sql.timer import SqlTimer

TRAITS = Traits(
    mechanism="mysql",
    durable=True,
    shared=True,
    can_disarm=True,
    transactional=True,
    ordered=True,
    # If another connection arms a deadline just before its time, the next look finds it. All other deadlines are exact.
    precision=timedelta(seconds=LOOK),
)

DEADLOCKS = 7
"""How often a statement is tried if the server ends it because of a deadlock. Such a statement changed nothing."""

LEAST_PACKET = 4 << 20
"""The least max_allowed_packet, in bytes: a full batch of the longest keys has a third of that."""

_STATEMENTS = statements("mysql")


class MysqlDatabase:
    """One database of a MySQL or MariaDB server. The server's clock decides what is due."""

    traits = TRAITS
    dialect = "mysql"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connections = Connections(self._connect, socket_of=_socket_of)
        self._watch = MysqlWatch(self._next_in)

    def read(self, name: str, parameters: Parameters) -> list[Row]:
        """Run a named statement. Return its rows."""
        return self.write(name, parameters)

    def write(self, name: str, parameters: Parameters) -> list[Row]:
        """Run the named statements, each in a separate transaction.

        Return the rows of the last statement. If it returns no rows, return one empty row for each row that it changed.
        """
        rows: list[Row] = []
        encoded = _encoded(parameters)
        with self._lent() as connection, closing(connection.cursor()) as cursor:
            for statement in _STATEMENTS[name]:
                changed = _run(cursor, statement, encoded)
                rows = list(cursor.fetchall()) if cursor.description else [()] * changed
        return rows

    def write_in(self, connection: Any, name: str, parameters: Parameters) -> None:  # noqa: ANN401 - or a wrapper
        """Run the named statements in the current transaction. Never create the table: that would commit."""
        own = underlying(connection)
        errors = errors_of(own)
        if errors is None:
            raise ConfigError(
                f"arming in a transaction needs a connection of PyMySQL or mysqlclient; got {type(own).__name__}"
            )
        encoded = _encoded(parameters)
        with translated(errors), closing(own.cursor()) as cursor:
            _execute(cursor, "bound")
            try:
                _execute(cursor, name, encoded)
            finally:
                with suppress(errors):  # if this fails, the connection is lost
                    _execute(cursor, "unbound")

    def location(self, *, make: bool) -> Location:
        """Return the location that a connection of this timer sees. With `make`, create a missing table."""
        if make:
            with self._lent() as connection, closing(connection.cursor()) as cursor:
                return _location(cursor, pymysql.Error)
        with (
            translated(),
            closing(connect(self._settings)) as connection,
            closing(connection.cursor()) as cursor,
        ):
            return _location(cursor, pymysql.Error)

    def location_of(self, connection: Any) -> Location | None:  # noqa: ANN401 - or a wrapper
        """Return the location that this connection sees; None for a connection of another driver."""
        own = underlying(connection)
        errors = errors_of(own)
        if errors is None:
            return None
        with translated(errors), closing(own.cursor()) as cursor:
            return _location(cursor, errors)

    def watch(self, timer: str, waker: Waker) -> None:
        """Look for deadlines that other connections have armed."""
        self._watch.ensure(timer, waker)

    def findings(self) -> list[Finding]:
        """Return findings on what a crash would lose."""
        settings = {str(name): str(value) for name, value in self.read("settings", {})}
        ((engine,),) = self.read("engine", {})
        version = settings["version"]
        server = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        found = [Finding(fit=True, text=version if server in version else f"{server} {version}")]
        if settings["innodb_doublewrite"] == "OFF":
            text = "innodb_doublewrite off: a crash of the machine can ruin the tables: set it on"
            found.append(Finding(fit=False, text=text))
        if engine != "InnoDB":
            text = f"the table's engine is {engine}: ALTER TABLE lapse_deadline ENGINE = InnoDB"
            found.append(Finding(fit=False, text=text))
        if settings["log_bin"] == "ON" and settings.get("binlog_format") == "STATEMENT":
            text = "binlog_format STATEMENT: claims are refused: set it to ROW or MIXED"
            found.append(Finding(fit=False, text=text))
        if int(settings["max_allowed_packet"]) < LEAST_PACKET:
            text = f"max_allowed_packet {settings['max_allowed_packet']}: large batches need {LEAST_PACKET} or more"
            found.append(Finding(fit=False, text=text))
        flush = settings["innodb_flush_log_at_trx_commit"]
        if flush != "1":
            text = f"innodb_flush_log_at_trx_commit {flush}: a crash loses the last second's deadlines"
            found.append(Finding(fit=True, text=text))
        elif all(finding.fit for finding in found):
            found.append(Finding(fit=True, text="an armed deadline survives a crash"))
        return found

    def close(self) -> None:
        """Stop watching and close the connections."""
        self._watch.close()
        self._connections.close()

    @contextmanager
    def _lent(self) -> Iterator["Connection[Any]"]:
        with translated(), self._connections.lend() as connection:
            yield connection

    def _connect(self) -> "Connection[Any]":
        """Return a new connection. A missing table is created: it may have been dropped, or the database restored."""
        connection = connect(self._settings)
        try:
            with closing(connection.cursor()) as cursor:
                _execute(cursor, "exists")
                if cursor.fetchone() != (1,):
                    _execute(cursor, "schema")
        except BaseException:
            connection.close()
            raise
        return connection

    def _next_in(self, timer: str) -> float | None:
        ((now, at),) = self.read("look", {"timer": timer})
        return None if at is None else (at - now) / 1000


def _execute(cursor: Any, name: str, parameters: Parameters | None = None) -> None:  # noqa: ANN401 - of either driver
    for statement in _STATEMENTS[name]:
        cursor.execute(statement, parameters)


def _location(cursor: Any, errors: type[Exception]) -> Location:  # noqa: ANN401 - as above
    """Return the location of the cursor's connection. Its table is None if the account may not write to it."""
    _execute(cursor, "location")
    ((database, exists),) = (row.values() if isinstance(row, dict) else row for row in cursor.fetchall())
    if not exists:
        return Location(database, None)
    try:
        _execute(cursor, "try_to_write")
    except errors as error:
        if is_forbidden(error):
            return Location(database, None)
        raise
    return Location(database, "lapse_deadline")


class MysqlTimer(SqlTimer):
    """A timer in MySQL or MariaDB."""

    traits = TRAITS


def open_from_url(url: str, *, name: str) -> MysqlTimer:
    """Return a timer by URL, for example mysql://user:password@localhost:3306/shop?ssl_ca=/etc/ssl/db.pem."""
    return MysqlTimer(MysqlDatabase(settings_of(url)), name)


def _socket_of(connection: "Connection[Any]") -> int:
    return int(connection._sock.fileno())  # type: ignore[attr-defined]  # noqa: SLF001 - the driver has no public way


def _run(cursor: Cursor, statement: str, parameters: Parameters) -> int:
    """Run a statement, again if a deadlock ended it. Return how many rows it found or changed."""
    for before in range(DEADLOCKS):
        try:
            return cursor.execute(statement, parameters)
        except pymysql.OperationalError as error:
            if error.args[0] != ER.LOCK_DEADLOCK or before + 1 == DEADLOCKS:
                raise
            # Separates the statements that met: longer each time, because on a busy machine the other one may not have
            # run on yet.
            SYSTEM_CLOCK.sleep(random.uniform(0.001, 0.01 * 2**before))  # noqa: S311 - no secret
    raise AssertionError("unreachable: the last try returns or raises")


def _encoded(parameters: Parameters) -> Parameters:
    """Return the parameters with keys in hexadecimal digits, and a claim's limit divided into oldest and newest."""
    encoded = dict(parameters)
    if "items" in encoded:
        items = [item if isinstance(item, dict) else {"key": item} for item in json.loads(str(encoded["items"]))]
        encoded["items"] = json.dumps([{**item, "key": item["key"].encode().hex()} for item in items])
    if "young" in encoded:
        encoded |= {"old": int(encoded["limit"]) - int(encoded["young"]), "most": MOST_ROWS}
    return encoded
