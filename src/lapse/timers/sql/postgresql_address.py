"""PostgreSQL URLs, and connections to the databases that they name."""

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lapse.engine.errors import ConfigError
from lapse.timers.sql.postgresql_errors import first_line

DEFAULTS = {
    "connect_timeout": "5",
    "application_name": "lapse",
    "client_encoding": "UTF8",
    "target_session_attrs": "read-write",
    # A server that vanished without closing the connection counts as unavailable after about ten seconds.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Connection parameters that the URL does not set."""

SESSION = b"""
SET lock_timeout = '5s'; SET statement_timeout = '30s'; SET default_transaction_isolation = 'read committed';
SET enable_bitmapscan = off
"""
"""Settings of each session.

An order's transaction may arm and then stay idle. The timeouts keep it from blocking the workers' leases for long.
Bitmap scans are off because the planner assumes a nearly empty table before its first ANALYZE. It would then collect
and sort all pending rows, although an index has these rows in order.
"""

_EXAMPLE = "write postgresql://user:password@localhost:5432/database"


def conninfo(url: str) -> str:
    """Return the connection string for a URL in libpq's form, with the defaults added. Raises ConfigError."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error as error:
        # The library's other messages can contain the password.
        why = f" ({first_line(error)})" if "query parameter" in str(error) else ""
        raise ConfigError(f"not a PostgreSQL URL{why}: {_EXAMPLE}") from None
    if not re.fullmatch(r"[\d,]*", str(given.get("port", ""))):
        raise ConfigError(f"the port in a PostgreSQL URL is a number: {_EXAMPLE}")
    return make_conninfo("", **{**DEFAULTS, **{key: str(value) for key, value in given.items()}})


def connect(address: str) -> psycopg.Connection:
    """Return a new connection that commits each statement by itself. Raises the driver's errors."""
    # No statement is prepared, so that a pooler may run each transaction on another server process.
    connection = psycopg.connect(address, autocommit=True, prepare_threshold=None)
    try:
        connection.execute(SESSION)
    except BaseException:
        connection.close()
        raise
    return connection
