"""Translates psycopg's errors into Lapse's errors. This is the only place that does so."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from lapse.engine.errors import TimerRefused, TimerUnavailable
from lapse.engine.unreachable import explained, plain

_FINAL_AT_CONNECT = re.compile(
    r"authentication failed|does not exist|no pg_hba\.conf entry|no password supplied|does not support SSL"
    r"|definition of service|unrecognized configuration parameter|invalid value for parameter|certificate verify failed"
    r"|does not match host name|could not (read|load)"
)
_ADVICE = {
    r'database ".*" does not exist': "create the database, or correct the URL's path",
    r'role ".*" does not exist|authentication failed|password supplied': "check the user and the password in the URL",
    r"no pg_hba\.conf entry": "permit this user, database and host in the server's pg_hba.conf",
    r"does not support SSL": "switch on TLS at the server, or leave sslmode out of the URL",
    r"session is read-only|read-only transaction": "name the primary in the URL, or permit writes in this database",
    r"invalid response to SSL negotiation": "no PostgreSQL answers there: check the host and the port in the URL",
}
"""A pattern of libpq's words → what to do, beside the advice for every server."""
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
            raise TimerRefused(f"PostgreSQL says: {_advised(error)}") from error
        raise TimerUnavailable(f"PostgreSQL gives no answer: {_advised(error)}") from error
    except psycopg.Error as error:
        raise TimerRefused(f"PostgreSQL says: {first_line(error)}") from error


def _advised(error: Exception) -> str:
    """Return the first line of an error's text, and what to do where that is known."""
    words = first_line(error)
    advice = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, words)), "")
    return f"{plain(words)}; {advice}" if advice else explained(words)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or the name of its class if the text is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)
