"""APScheduler's job stores in one SQLite file, for the processes of one host."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from lapse.engine.timer import Finding
from lapse.timers.apscheduler.sql import Dialect, SqlJobs, reraised
from lapse.timers.sql.sqlite_server import connect, file_of, translated, write_ahead


def open_jobs(url: str, *, name: str) -> SqlJobs:
    """Open by URL, as sqlite:///orders.db."""
    path = file_of(url)
    # A connection for each use: to open the file takes a tenth of a millisecond, and one that was put in its place, or
    # a fork, leaves no connection behind that must not be used.
    engine = create_engine(
        "sqlite://",
        creator=partial(_connect, path),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    return SqlJobs(
        Dialect(
            address=f"sqlite {path}",
            engine=engine,
            begin=("BEGIN IMMEDIATE",),
            read=("BEGIN",),
            translated=partial(_translated, path),
            findings=_findings,
        ),
        name,
    )


def _connect(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    write_ahead(connection)  # the orders may be in this file too, and be read while they are armed
    return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise reraised(error.orig, translated(path)) from error


def _findings(connection: Connection) -> Iterator[Finding]:
    (synchronous,) = connection.exec_driver_sql("PRAGMA synchronous").one()
    yield Finding(fit=True, text=f"SQLite {sqlite3.sqlite_version}")
    yield Finding(
        fit=synchronous > 1, text="a job that was written outlives a crash; all processes must be on this host"
    )
