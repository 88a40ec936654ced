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
            advice = ": make room in its folder" if code.startswith("SQLITE_FULL") else ""
            raise TimerUnavailable(f"{path} cannot be used now: {error}{advice}") from error
        raise TimerRefused(f"{path}: {error}: {_advice(path, code)}") from error
    except OSError as error:
        raise TimerUnavailable(f"{path} cannot be used now: {error}") from error


def _advice(path: Path, code: str) -> str:
    """Return what the operator must change, by what is at the path."""
    if code.startswith("SQLITE_NOTADB"):
        return "this file has other content, so name another file in the URL"
    if path.is_dir():
        return "this is a folder: add the name of a file to the URL"
    if not path.parent.is_dir():
        return (
            f"there is no folder {path.parent}: create it, or correct the path; after four slashes a path is absolute"
        )
    return "this process must be permitted to write the file and its folder"
