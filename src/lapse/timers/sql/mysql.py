"""A deadline table in MySQL or MariaDB: claims skip what others have locked, a light look finds what others arm."""

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
from lapse.timers.sql.database import Parameters, Place, Row
from lapse.timers.sql.mysql_server import Settings, connect, errors_of, is_forbidden, settings_of, translated
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
    # What is armed a moment before its time by another connection is found by the next look; all else is exact.
    precision=timedelta(seconds=LOOK),
)

DEADLOCKS = 5
"""How often a statement is said again whose locks the server took away. It had changed nothing."""

LEAST_PACKET = 4 << 20
"""Bytes that the server must take at once: a full batch of the longest keys has a third of that."""

_STATEMENTS = statements("mysql")


class MysqlDatabase:
    """One database of a MySQL or MariaDB server; its clock decides."""

    traits = TRAITS
    dialect = "mysql"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connections = Connections(self._connect, socket_of=_socket_of)
        self._watch = MysqlWatch(self._next_in)

    def read(self, name: str, parameters: Parameters) -> list[Row]:
        """Run a named statement."""
        return self.write(name, parameters)

    def write(self, name: str, parameters: Parameters) -> list[Row]:
        """Run the named statements, each a transaction of its own.

        Returns the rows of the last, or an empty one for each that it changed: it cannot do both.
        """
        rows: list[Row] = []
        spelled = _spelled(parameters)
        with self._lent() as connection, closing(connection.cursor()) as cursor:
            for statement in _STATEMENTS[name]:
                changed = _run(cursor, statement, spelled)
                rows = list(cursor.fetchall()) if cursor.description else [()] * changed
        return rows

    def write_in(self, connection: Any, name: str, parameters: Parameters) -> None:  # noqa: ANN401 - or what wraps it
        """Run the named statements in the transaction that the connection is in. To make the table would commit it."""
        own = underlying(connection)
        errors = errors_of(own)
        if errors is None:
            raise ConfigError(
                f"to arm in a transaction takes a connection of PyMySQL or mysqlclient; got {type(own).__name__}"
            )
        spelled = _spelled(parameters)
        with translated(errors), closing(own.cursor()) as cursor:
            _say(cursor, "bound")
            try:
                _say(cursor, name, spelled)
            finally:
                with suppress(errors):  # where this fails, the connection is lost
                    _say(cursor, "unbound")

    def place(self, *, make: bool) -> Place:
        """Ask by a connection of our own, which makes the table, or by one that does not."""
        if make:
            with self._lent() as connection, closing(connection.cursor()) as cursor:
                return _place(cursor, pymysql.err.Error)
        with (
            translated(),
            closing(connect(self._settings)) as connection,
            closing(connection.cursor()) as cursor,
        ):
            return _place(cursor, pymysql.err.Error)

    def place_of(self, connection: Any) -> Place | None:  # noqa: ANN401 - or what wraps it
        """Ask by this connection."""
        own = underlying(connection)
        errors = errors_of(own)
        if errors is None:
            return None
        with translated(errors), closing(own.cursor()) as cursor:
            return _place(cursor, errors)

    def watch(self, timer: str, waker: Waker) -> None:
        """Look at what others arm."""
        self._watch.ensure(timer, waker)

    def findings(self) -> list[Finding]:
        """Look at what a crash would lose."""
        settings = {str(name): str(value) for name, value in self.read("settings", {})}
        ((engine,),) = self.read("engine", {})
        version = settings["version"]
        server = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        found = [Finding(fit=True, text=version if server in version else f"{server} {version}")]
        if settings["innodb_doublewrite"] == "OFF":
            text = "innodb_doublewrite off: a crash of the machine can ruin the tables: set it on"
            found.append(Finding(fit=False, text=text))
        if engine != "InnoDB":
            text = f"the table is kept by {engine}: ALTER TABLE lapse_deadline ENGINE = InnoDB"
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
            found.append(Finding(fit=True, text="a deadline that was armed outlives a crash"))
        return found

    def close(self) -> None:
        """Stop watching and close what is idle."""
        self._watch.close()
        self._connections.close()

    @contextmanager
    def _lent(self) -> Iterator["Connection[Any]"]:
        with translated(), self._connections.lend() as connection:
            yield connection

    def _connect(self) -> "Connection[Any]":
        """Connect, and make the table where there is none: it may have been dropped, or the database restored."""
        connection = connect(self._settings)
        try:
            with closing(connection.cursor()) as cursor:
                _say(cursor, "exists")
                if cursor.fetchone() != (1,):
                    _say(cursor, "schema")
        except BaseException:
            connection.close()
            raise
        return connection

    def _next_in(self, timer: str) -> float | None:
        ((now, at),) = self.read("look", {"timer": timer})
        return None if at is None else (at - now) / 1000


def _say(cursor: Any, name: str, parameters: Parameters | None = None) -> None:  # noqa: ANN401 - of either driver
    for statement in _STATEMENTS[name]:
        cursor.execute(statement, parameters)


def _place(cursor: Any, errors: type[Exception]) -> Place:  # noqa: ANN401 - as above
    """Ask where the cursor's connection is, and whether it may write to the table there."""
    _say(cursor, "place")
    ((database, exists),) = (row.values() if isinstance(row, dict) else row for row in cursor.fetchall())
    if not exists:
        return Place(database, None)
    try:
        _say(cursor, "touch")
    except errors as error:
        if is_forbidden(error):
            return Place(database, None)
        raise
    return Place(database, "lapse_deadline")


class MysqlTimer(SqlTimer):
    """A timer in MySQL or MariaDB."""

    traits = TRAITS


def open_from_url(url: str, *, name: str) -> MysqlTimer:
    """Open by URL, for example mysql://user:password@localhost:3306/shop?ssl_ca=/etc/ssl/db.pem."""
    return MysqlTimer(MysqlDatabase(settings_of(url)), name)


def _socket_of(connection: "Connection[Any]") -> int:
    return int(connection._sock.fileno())  # type: ignore[attr-defined]  # noqa: SLF001 - it has no other way to tell


def _run(cursor: Cursor, statement: str, parameters: Parameters) -> int:
    """Say it, again where it was the victim of a deadlock. Returns how many rows it found or changed."""
    for left in reversed(range(DEADLOCKS)):
        try:
            return cursor.execute(statement, parameters)
        except pymysql.err.OperationalError as error:
            if error.args[0] != ER.LOCK_DEADLOCK or not left:
                raise
            SYSTEM_CLOCK.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads those who met, keeps no secret
    raise AssertionError("unreachable: the last try returns or raises")


def _spelled(parameters: Parameters) -> Parameters:
    """Spell keys in hexadecimal digits, and divide a claim's limit between the oldest and the youngest."""
    spelled = dict(parameters)
    if "items" in spelled:
        items = [item if isinstance(item, dict) else {"key": item} for item in json.loads(str(spelled["items"]))]
        spelled["items"] = json.dumps([{**item, "key": item["key"].encode().hex()} for item in items])
    if "young" in spelled:
        spelled |= {"old": int(spelled["limit"]) - int(spelled["young"]), "most": MOST_ROWS}
    return spelled
