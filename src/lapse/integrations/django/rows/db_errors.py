"""Distinguishes a database that does not answer from an error that one order causes."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError, connections

from lapse.engine.errors import TryLater
from lapse.engine.unreachable import explained
from lapse.engine.visible import one_line


@contextmanager
def unavailable_is_try_later(using: str) -> Iterator[None]:
    """Raise TryLater if a statement failed because the database `using` does not answer or accepts no connections.

    Also if SQLite is locked by another connection. Every other error is passed on. A deadlock or a statement timeout is
    an OperationalError too. One order may cause it again and again, so it must not delay all orders.
    """
    connection = connections[using]
    before: object = None
    try:
        connection.ensure_connection()
        before = connection.connection
        yield
    except (OperationalError, InterfaceError) as error:
        if is_busy(error):
            raise TryLater("the database is locked by another connection") from error
        # After a failed rollback, Django has another connection or none.
        if before is not None and connection.connection is before and connection.is_usable():
            raise
        if not connection.in_atomic_block:
            connection.close()  # the next call opens a new one
        reason = explained(first_line(error), within="DATABASES")
        raise TryLater(f"the database is unavailable: {one_line(reason)}") from error


def is_busy(error: Exception) -> bool:
    """Return whether another connection has locked the SQLite database for longer than its `timeout`."""
    code = getattr(error.__cause__, "sqlite_errorcode", None)  # the lowest byte says which kind of error it is
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text: PostgreSQL adds questions and the statement below it."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def lacks_table(error: Exception) -> bool:
    """Return whether the database has no table of this name: its migrations are not applied."""
    return bool(codes_of(error) & {"42P01", 1146}) or "no such table" in str(error)


def codes_of(error: Exception) -> set[object]:
    """Return the database's codes of the error: PostgreSQL has an SQLSTATE, MySQL has a number as well."""
    cause = error.__cause__
    return {getattr(cause, "sqlstate", None), cause.args[0] if cause is not None and cause.args else None}


def close_outlived_connection(using: str) -> None:
    """Close this thread's connection if it has outlived CONN_MAX_AGE, as the end of a request would.

    An age of 0 means one connection per request. A worker has no requests, so it keeps its connection: opening a new
    one takes longer than lapsing an order.
    """
    connection = connections[using]
    if connection.settings_dict["CONN_MAX_AGE"] and not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
