"""SQLite URLs, and connections to the files that they name."""

import sqlite3
from pathlib import Path

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import ConfigError, TimerRefused
from lapse.engine.url import Form
from lapse.engine.url_values import FILE, Option

OLDEST = (3, 35)
"""The oldest SQLite version that has the statements used here (RETURNING)."""

BUSY = 5.0
"""Seconds to wait for another process that writes. After that the file counts as unavailable."""

FORMS = {
    scheme: Form(
        example=f"{scheme}:///orders.db, or {scheme}:////var/lib/orders.db for an absolute path",
        account=False,
        hosts=(0, 0),
        path={"file": Option(FILE, "relative after three slashes, absolute after four")},
        needed=1,
        rest_of_path=True,
    )
    for scheme in ("sqlite", "apscheduler+sqlite")
}
"""Scheme → what its URLs understand."""


def file_of(url: str) -> Path:
    """Return the file that a URL names.

    Raises ConfigError for a URL without a file, TimerRefused if the SQLite library is too old.
    """
    scheme = url.partition(":")[0].lower()
    path = FORMS[scheme].read(url).options["file"].removeprefix("/")
    if not path or path == ":memory:" or path.endswith("/"):
        raise ConfigError("sqlite:/// needs a file, such as sqlite:///orders.db; for one process there is memory://")
    if sqlite3.sqlite_version_info < OLDEST:
        raise TimerRefused(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or later is needed")
    return Path(path).absolute()


def connect(path: Path) -> sqlite3.Connection:
    """Return a new connection that commits each statement by itself. Raises the driver's errors."""
    return sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)


def write_ahead(connection: sqlite3.Connection) -> None:
    """Set the file's journal mode to WAL, in which readers do not block writers. The file keeps that mode.

    Raises TimerRefused if the file system cannot: SQLite then keeps the old mode without an error.
    """
    end = SYSTEM_CLOCK.monotonic() + BUSY
    while _journal_mode(connection, "") != "wal":
        try:
            if _journal_mode(connection, " = wal") != "wal":
                raise TimerRefused(
                    "the file system of this SQLite file cannot keep a write-ahead log, because it has no shared "
                    "memory: put the file on a disk of this host"
                )
        except sqlite3.OperationalError:  # another connection does the same at this moment: SQLite does not wait here
            if SYSTEM_CLOCK.monotonic() > end:
                raise
            SYSTEM_CLOCK.sleep(0.01)


def _journal_mode(connection: sqlite3.Connection, change: str) -> str:
    """Run the pragma, with a change or with none. Return the mode afterwards."""
    (mode,) = connection.execute("PRAGMA journal_mode" + change).fetchone()
    return str(mode)
