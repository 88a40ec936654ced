"""Translates psycopg's errors into Lapse's errors. This is the only place that does so."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from lapse.engine.errors import TimerRefused, TimerUnavailable

_FINAL_AT_CONNECT = re.compile(
    r"authentication failed|does not exist|no pg_hba\.conf entry|no password supplied|does not support SSL"
    r"|definition of service|unrecognized configuration parameter|invalid value for parameter|certificate verify failed"
    r"|does not match host name|could not (read|load)"
)
_PASSING = (
    psycopg.OperationalError,  # also: a shutdown, too many connections, a deadlock, a lock that took too long
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,  # after a failover this server is read-only
    errors.UndefinedTable,  # dropped while in use: the next connection creates the table again
    errors.TransactionRollback,
)
_MORE = " and USAGE on lapse_deadline_token, or let the role create them: GRANT CREATE ON SCHEMA"


@contextmanager
def translated() -> Iterator[None]:
    """Raise TimerUnavailable or TimerRefused in place of the driver's errors."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        grant = f"grant SELECT, INSERT, UPDATE, DELETE on lapse_deadline{_MORE}"
        raise TimerRefused(f"{first_line(error)}: {grant}") from error
    except _PASSING as error:
        if error.sqlstate is None and _FINAL_AT_CONNECT.search(str(error)):
            raise TimerRefused(f"PostgreSQL says: {first_line(error)}") from error
        raise TimerUnavailable(f"PostgreSQL gives no answer: {first_line(error)}") from error
    except psycopg.Error as error:
        raise TimerRefused(f"PostgreSQL says: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or the name of its class if the text is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)
