"""The transactions in which orders are locked: what they may read, and which of them may run once more."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connections, transaction

READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""Applies to one transaction: on PostgreSQL to the open one, on MySQL and MariaDB to the next one."""

POSTGRESQL_DEADLOCKS = frozenset({"40P01", "40001"})
"""deadlock_detected and serialization_failure."""

MYSQL_DEADLOCKS = frozenset({1213, 1020})
"""ER_LOCK_DEADLOCK, and MariaDB's ER_CHECKREAD: the row has changed since the transaction's first read."""


@contextmanager
def read_committed(using: str) -> Iterator[None]:
    """Open a transaction that reads what others committed after it began; inside another transaction, a savepoint.

    Under a stricter level, a transaction that waited for a row goes on reading what was there before the wait.
    """
    connection = connections[using]
    first = not connection.in_atomic_block and connection.get_autocommit()
    if first and connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(READ_COMMITTED)
    with transaction.atomic(using=using):
        if first and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(READ_COMMITTED)
        yield


def is_deadlock(error: Exception) -> bool:
    """Return whether the database ended the transaction because it and another transaction were in each other's way."""
    if not isinstance(error, OperationalError):
        return False
    cause = error.__cause__
    number = cause.args[0] if cause is not None and cause.args else None
    return getattr(cause, "sqlstate", None) in POSTGRESQL_DEADLOCKS or number in MYSQL_DEADLOCKS
