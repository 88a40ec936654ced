"""Detects that a connection of any process has changed an SQLite file: SQLite has no notifications."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress

from lapse.engine.background import BackgroundThread
from lapse.engine.waker import Waker
from lapse.timers.sql.connections import Connections

LOOK = 0.02
"""Seconds between two reads of the file's version. Each read takes a few microseconds."""

PAUSE = 1.0
"""Seconds until the next try after the file could not be read."""


class SqliteWatch:
    """Wakes the wakers when the file's version changes. `connections` open the file; only this watch uses them."""

    def __init__(self, connections: Connections[sqlite3.Connection], inode: Callable[[], int]) -> None:
        self._connections = connections
        self._inode = inode
        self._wakers: set[Waker] = set()
        self._thread = BackgroundThread(self._run, name="lapse-watch")

    def ensure(self, waker: Waker) -> None:
        """Start to watch, unless this process watches already, and wake this waker from now on."""
        self._wakers.add(waker)
        self._thread.ensure()

    def close(self) -> None:
        """Stop watching."""
        self._thread.close(PAUSE * 2)
        self._connections.close()

    def _run(self) -> None:
        while not self._thread.closing:
            with suppress(sqlite3.Error, OSError):  # the worker's claims report these errors
                self._look()
            self._thread.pause(PAUSE)

    def _look(self) -> None:
        """Compare the versions that one connection reports, until the path leads to another file."""
        inode, last, seen = self._inode(), None, -1
        while not self._thread.pause(LOOK):
            if self._inode() != inode:
                self._connections.close()
                return
            with self._connections.lend() as connection:
                (version,) = connection.execute("PRAGMA data_version").fetchone()
            if connection is not last or version != seen:  # versions from two connections cannot be compared
                last, seen = connection, version
                for waker in list(self._wakers):
                    waker.wake()
