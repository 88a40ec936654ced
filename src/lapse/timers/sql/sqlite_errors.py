"""Translates sqlite3's errors into Lapse's errors. This is the only place that does so."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lapse.engine.errors import TimerRefused, TimerUnavailable

_PASSING = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_PROTOCOL",  # another process stands still while it begins to read: https://sqlite.org/rescode.html#protocol
    "SQLITE_IOERR",
    "SQLITE_FULL",
    "SQLITE_READONLY_DBMOVED",
    "SQLITE_SCHEMA",
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise TimerUnavailable or TimerRefused in place of the driver's errors about this file."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "") or ""
        if code.startswith(_PASSING) or "no such table" in str(error):
            raise TimerUnavailable(f"{path} cannot be used now: {error}") from error
        raise TimerRefused(f"{path}: {error}: is it a file in a folder that this process may write?") from error
    except OSError as error:
        raise TimerUnavailable(f"{path} cannot be used now: {error}") from error
