"""APScheduler's job stores in a PostgreSQL database."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError

from lapse.engine.errors import TimerRefused
from lapse.engine.timer import Finding
from lapse.timers.apscheduler.sql import Dialect, SqlStores, reraised
from lapse.timers.sql.postgresql_address import connect, conninfo
from lapse.timers.sql.postgresql_errors import translated


def open_stores(url: str, *, name: str) -> SqlStores:
    """Return a timer's job stores at a URL in libpq's form."""
    address = conninfo(url)
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(address),
        isolation_level="AUTOCOMMIT",
        max_overflow=-1,
        pool_pre_ping=True,  # after a restart of the server, no sale fails
    )
    # Only one process at a time writes to a timer's tables. With row locks, a process that arms a claimed job and a
    # process that releases the same job would deadlock.
    number = int.from_bytes(sha256(f"lapse apscheduler {name}".encode()).digest()[:8], signed=True)
    where = conninfo_to_dict(address)
    return SqlStores(
        Dialect(
            address=f"postgresql {where.get('host')}:{where.get('port')}/{where.get('dbname')}",
            engine=engine,
            begin=("BEGIN", f"SELECT pg_advisory_xact_lock({number})"),
            read=("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",),
            translated=_translated,
            findings=_findings,
        ),
        name,
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            why = str(error.orig).partition("\n")[0]
            raise TimerRefused(
                f"{why}: let the role create the job stores' tables (GRANT CREATE ON SCHEMA), or create them by "
                "another role and grant SELECT, INSERT, DELETE on lapse_pending_…, lapse_claimed_… and lapse_buried_…"
            ) from error
        raise reraised(error.orig, translated()) from error


def _findings(connection: Connection) -> Iterator[Finding]:
    version, fsync = connection.exec_driver_sql(
        "SELECT current_setting('server_version'), current_setting('fsync')"
    ).one()
    yield Finding(fit=True, text=f"PostgreSQL {version}")
    if fsync == "off":
        yield Finding(fit=False, text="fsync off: a crash of the machine can lose all jobs: set fsync on")
    else:
        yield Finding(fit=True, text="a stored job survives a crash")
