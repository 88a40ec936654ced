"""One PostgreSQL, found by URL: its connections and its errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lapse.engine.errors import ConfigError, TimerRefused, TimerUnavailable

DEFAULTS = {
    "connect_timeout": "5",
    "application_name": "lapse",
    "client_encoding": "UTF8",
    "target_session_attrs": "read-write",
    # A server that is gone without a word counts as away after some ten seconds.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Connection parameters, unless the URL sets them."""

SESSION = b"""
SET lock_timeout = '5s'; SET statement_timeout = '30s'; SET default_transaction_isolation = 'read committed';
SET enable_bitmapscan = off
"""
"""An order's transaction that arms and then idles must not hold up everybody's leases for long.

Before its first ANALYZE the table counts as nearly empty, and the planner would rather collect and sort all that is
pending than walk the index that has it in order.
"""

_FINAL_AT_CONNECT = re.compile(
    r"authentication failed|does not exist|no pg_hba\.conf entry|no password supplied|does not support SSL"
)
_PASSING = (
    psycopg.OperationalError,  # also: shut down, too many connections, a deadlock, a lock that was waited for too long
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,  # the other server has taken over
    errors.UndefinedTable,  # dropped under way: the next connection makes it again
    errors.TransactionRollback,
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into the timer's: the one place where that is done."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise TimerRefused(f"{_text(error)}: grant SELECT, INSERT, UPDATE, DELETE on lapse_deadline{_MORE}") from error
    except _PASSING as error:
        if error.sqlstate is None and _FINAL_AT_CONNECT.search(str(error)):
            raise TimerRefused(f"PostgreSQL says: {_text(error)}") from error
        raise TimerUnavailable(f"PostgreSQL gives no answer: {_text(error)}") from error
    except psycopg.Error as error:
        raise TimerRefused(f"PostgreSQL says: {_text(error)}") from error


_EXAMPLE = "write postgresql://user:password@localhost:5432/database"
_MORE = " and USAGE on lapse_deadline_token, or let the role create them: GRANT CREATE ON SCHEMA"


def conninfo(url: str) -> str:
    """Check a URL in the form that libpq takes, and add what it leaves open. Raises ConfigError."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error as error:
        # The library's other messages can hold the password.
        why = f" ({_text(error)})" if "query parameter" in str(error) else ""
        raise ConfigError(f"not a PostgreSQL URL{why}: {_EXAMPLE}") from None
    if not re.fullmatch(r"[\d,]*", str(given.get("port", ""))):
        raise ConfigError(f"the port in a PostgreSQL URL is a number: {_EXAMPLE}")
    return make_conninfo("", **{**DEFAULTS, **{key: str(value) for key, value in given.items()}})


def connect(address: str) -> psycopg.Connection:
    """Open a connection that commits each statement by itself. Raises the driver's errors."""
    # Nothing is prepared, so that a pooler may give each transaction another server process.
    connection = psycopg.connect(address, autocommit=True, prepare_threshold=None)
    try:
        connection.execute(SESSION)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(error: Exception) -> str:
    """The first line of what it says."""
    return next(iter(str(error).splitlines()), type(error).__name__)
