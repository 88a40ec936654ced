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
from lapse.timers.apscheduler.sql import Dialect, SqlStores, reraised
from lapse.timers.sql.sqlite_address import connect, file_of, write_ahead
from lapse.timers.sql.sqlite_errors import translated


def open_stores(url: str, *, name: str) -> SqlStores:
    """Return the job stores of a timer, at a URL such as apscheduler+sqlite:///orders.db."""
    path = file_of(url)
    # A new connection for each use: opening the file takes 0.1 ms. So there is never an old connection, which would be
    # unusable after a fork or after the file was replaced.
    engine = create_engine(
        "sqlite://",
        creator=partial(_connect, path),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    return SqlStores(
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
    write_ahead(connection)  # then orders in the same file can be read while deadlines are armed
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
    yield Finding(fit=synchronous > 1, text="a stored job survives a crash; all processes must be on this host")
