"""Distinguishes a database that does not answer from an order that makes trouble."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError, connections

from lapse.engine.errors import TryLater


@contextmanager
def unavailable_is_try_later(using: str) -> Iterator[None]:
    """Raise TryLater where a statement failed because the database `using` does not answer, or lets no one in.

    Every other failure is passed on. A deadlock, or a statement that ran into its time limit, is an OperationalError
    too. It may be caused by one order, and must not hold up all orders for ever.
    """
    connection = connections[using]
    before: object = None
    try:
        connection.ensure_connection()
        before = connection.connection
        yield
    except (OperationalError, InterfaceError) as error:
        # After a rollback that failed, Django has made another connection, or has none.
        if before is not None and connection.connection is before and connection.is_usable():
            raise
        if not connection.in_atomic_block:
            connection.close()  # the next call makes a new one
        raise TryLater(f"the database is unavailable: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Return the error's message in one line; drivers write several."""
    return " ".join(str(error).split())


def close_outlived_connection(using: str) -> None:
    """Close this thread's connection if it has outlived CONN_MAX_AGE, as the end of a request would.

    An age of 0 means one connection per request. A worker has no requests and keeps its connection, because making a
    new one takes longer than lapsing an order.
    """
    connection = connections[using]
    if connection.settings_dict["CONN_MAX_AGE"] and not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
