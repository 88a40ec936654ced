"""The transactions in which orders are locked: what they may read, and which of them may run once more."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from lapse.engine.errors import LapseError
from lapse.integrations.django.rows.db_errors import codes_of

READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""Applies to one transaction: on PostgreSQL to the open one, on MySQL and MariaDB to the next one."""

LEVEL_SETTING = 'set "isolation_level" to "read committed" in the OPTIONS of DATABASES'
"""What a shop can do about a stricter level. PostgreSQL takes psycopg's constant of that name."""

DEADLOCKS: set[object] = {"40P01", "40001", 1213, 1020, 1305}
"""deadlock_detected and serialization_failure of PostgreSQL. ER_LOCK_DEADLOCK of MySQL; ER_CHECKREAD of MariaDB: the
row has changed since the transaction's first read; and ER_SP_DOES_NOT_EXIST: the savepoint is gone, because a deadlock
has ended the transaction and the shop went on."""

_begun_here: WeakSet[BaseDatabaseWrapper] = WeakSet()
"""The connections whose open transaction Lapse began. Each connection is used by one thread."""


class OpenTransaction(LapseError):
    """Lapse was called inside a transaction of the caller, where it cannot keep what it promises.

    Either it would have called a payment gateway while the transaction holds row locks. Or the transaction's isolation
    level hides what others have committed since, and the condition `unpaid` depends on the absence of rows.
    """


@contextmanager
def read_committed(using: str, *, reads_absence: bool = False) -> Iterator[None]:
    """Open a transaction that reads what others committed after it began; inside another transaction, a savepoint.

    Under a stricter level, a transaction that waited for a row goes on reading what was there before the wait.
    `reads_absence` is for a condition that is true because a row is absent. It refuses a stricter level of the caller.
    """
    if reads_absence:
        refuse_old_snapshot(using)
    connection = connections[using]
    first = not in_transaction(connection)
    if first and connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(READ_COMMITTED)
    with transaction.atomic(using=using):
        if first and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(READ_COMMITTED)
        # MySQL ends the whole transaction to resolve a deadlock, and its locks with it. A shop that ignores that error
        # would go on without locks. Then this savepoint is gone as well, and its release raises.
        sid = connection.savepoint() if first and connection.vendor == "mysql" else None
        if first:
            _begun_here.add(connection)
        try:
            yield
        finally:
            if first:
                _begun_here.discard(connection)
        if sid is not None and not connection.needs_rollback:
            connection.savepoint_commit(sid)


def refuse_transaction(using: str) -> None:
    """Raise OpenTransaction inside a transaction, for a call that may call payment gateways."""
    try:
        with transaction.atomic(using=using, durable=True):
            pass
    except RuntimeError as error:
        raise OpenTransaction(
            "lapsing calls payment gateways, so it must not run inside transaction.atomic() or with "
            "ATOMIC_REQUESTS: call it before the transaction, or mark the view non_atomic_requests"
        ) from error


def refuse_old_snapshot(using: str) -> None:
    """Raise OpenTransaction inside a transaction of the caller whose isolation level is stricter than READ COMMITTED.

    For a condition that is true because a row is absent: such a transaction may not see that the row was added.
    """
    connection = connections[using]
    if in_transaction(connection) and connection not in _begun_here and (level := stricter_level(using)):
        raise OpenTransaction(
            f"the open transaction is {level}, so it may not see a row that another transaction has added, and "
            f"`unpaid` depends on the absence of rows: call Lapse outside of transaction.atomic(), or {LEVEL_SETTING}"
        )


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a transaction is open, or begins with the next statement because autocommit is off."""
    return connection.in_atomic_block or not connection.get_autocommit()


def stricter_level(using: str) -> str | None:
    """Return the isolation level of the connection's transactions if it is stricter than READ COMMITTED, else None.

    On PostgreSQL it is the level of the open transaction. MySQL and MariaDB show the level of the session only. SQLite
    needs no level: a transaction of Lapse takes the write lock first, which fails if the transaction's reads are old.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        statement = "SHOW transaction_isolation"
    elif connection.vendor == "mysql":
        statement = f"SELECT @@{'tx_isolation' if connection.mysql_is_mariadb else 'transaction_isolation'}"  # type: ignore[attr-defined] # of Django's MySQL backend
    else:
        return None
    with connection.cursor() as cursor:
        cursor.execute(statement)
        level = str(cursor.fetchone()[0]).replace("-", " ").upper()
    return None if level in {"READ COMMITTED", "READ UNCOMMITTED"} else level


def is_deadlock(error: Exception) -> bool:
    """Return whether the database ended the transaction because it and another transaction were in each other's way."""
    return isinstance(error, OperationalError) and bool(codes_of(error) & DEADLOCKS)
