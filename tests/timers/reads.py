"""Counts the rows that a named statement of an SQL timer reads, on each dialect. Every statement is rolled back."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Protocol

import psycopg
import pymysql

from lapse.timers.sql.database import Parameters
from lapse.timers.sql.mysql_address import settings_of
from lapse.timers.sql.statements import statements

MODIFIES = "ModifyTable"
"""The plan node that writes. Its rows are those that another node has read."""

STEPS_PER_ROW = 100
"""Steps of SQLite's machine that reading, changing and returning one row may take. Reading alone takes about ten."""


class Reader(Protocol):
    """A connection to a timer's database that counts."""

    def analyse(self) -> None:
        """Let the database count its rows for its planner now. From now on it does so at no other time."""

    def rows_read(self, name: str, parameters: Parameters) -> int:
        """Return how many rows of tables and indexes the named statement reads."""


class PostgresReader:
    """Counts by EXPLAIN ANALYZE, which runs the statement."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        connection.execute("ALTER TABLE lapse_deadline SET (autovacuum_enabled = off)")
        connection.commit()

    def analyse(self) -> None:
        """Analyse the table."""
        self._connection.execute("ANALYZE lapse_deadline")
        self._connection.commit()

    def rows_read(self, name: str, parameters: Parameters) -> int:
        """Return the rows that all scans returned or rejected."""
        return rows_read_by_plan(self._connection, statements("postgresql")[name][0], parameters)


def rows_read_by_plan(connection: psycopg.Connection, statement: str, parameters: Mapping[str, Any]) -> int:
    """Run the statement on PostgreSQL and roll back. Return the rows that the plan's scans returned or rejected."""
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}".encode()
    ((explained,),) = connection.execute(explain, parameters).fetchall()
    connection.rollback()
    rejected = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return sum(
        int(node["Actual Loops"] * (node["Actual Rows"] + sum(node.get(rows, 0) for rows in rejected)))
        for node in _nodes(explained[0]["Plan"])
        if ("Relation Name" in node or "Index Name" in node) and node["Node Type"] != MODIFIES
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


class MysqlReader:
    """Counts by the session's counters of the storage engine."""

    def __init__(self, connection: pymysql.Connection) -> None:
        self._connection = connection
        self._run("ALTER TABLE lapse_deadline STATS_AUTO_RECALC = 0")

    def analyse(self) -> None:
        """Analyse the table."""
        self._run("ANALYZE TABLE lapse_deadline")

    def rows_read(self, name: str, parameters: Parameters) -> int:
        """Return the rows that the storage engine has read."""
        encoded = _in_hexadecimal(parameters)
        self._run("FLUSH STATUS")
        for statement in statements("mysql")[name]:
            self._run(statement, encoded)
        counters = self._run("SHOW SESSION STATUS LIKE 'Handler_read%%'", {})
        self._connection.rollback()
        return sum(int(count) for _, count in counters)

    def _run(self, statement: str, parameters: Mapping[str, Any] | None = None) -> tuple[tuple[Any, ...], ...]:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement, parameters)
            return tuple(cursor.fetchall())


def _in_hexadecimal(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters as MySQL's driver sends them: keys in hexadecimal digits, the limit divided."""
    encoded = dict(parameters)
    if "items" in encoded:
        items = [item if isinstance(item, dict) else {"key": item} for item in json.loads(str(encoded["items"]))]
        encoded["items"] = json.dumps([{**item, "key": item["key"].encode().hex()} for item in items])
    if "young" in encoded:
        encoded |= {"old": int(encoded["limit"]) - int(encoded["young"]), "most": 1000}
    return encoded


class SqliteReader:
    """Counts by the steps of SQLite's machine, because SQLite has no counters of rows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def analyse(self) -> None:
        """Analyse the table."""
        self._connection.execute("ANALYZE")

    def rows_read(self, name: str, parameters: Parameters) -> int:
        """Return the rows that could have been read in so many steps."""
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return 0

        values = {**parameters, "now": self._now()}
        self._connection.execute("BEGIN")
        self._connection.set_progress_handler(count, STEPS_PER_ROW)
        for statement in statements("sqlite")[name]:
            self._connection.execute(statement, values).fetchall()
        self._connection.set_progress_handler(None, 0)
        self._connection.execute("ROLLBACK")
        return calls

    def _now(self) -> int:
        ((now,),) = self._connection.execute("SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)")
        return int(now)


@contextmanager
def reader_of(url: str) -> Iterator[Reader]:
    """Connect to the timer's database, whose table exists."""
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as file:
            yield SqliteReader(file)
    elif scheme == "mysql":
        with closing(pymysql.connect(**settings_of(url))) as connection:
            yield MysqlReader(connection)
    else:
        with closing(psycopg.connect(url, prepare_threshold=None)) as session:
            yield PostgresReader(session)
