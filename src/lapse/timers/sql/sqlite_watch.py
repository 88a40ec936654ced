"""Notices that another connection, of this process or any, has changed an SQLite file: nothing else tells."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress

from lapse.engine.background import BackgroundThread
from lapse.engine.waker import Waker
from lapse.timers.sql.connections import Connections

LOOK = 0.02
"""Seconds between two looks at the file's version, a few microseconds each."""

PAUSE = 1.0
"""Seconds until the next try where the file cannot be read."""


class SqliteWatch:
    """Wakes the wakers when the file's version changes. `connections` open the file, and are for this alone."""

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
            with suppress(sqlite3.Error, OSError):  # claims report these
                self._look()
            self._thread.pause(PAUSE)

    def _look(self) -> None:
        """Compare what one connection says again and again, until the file is another one."""
        inode, last, seen = self._inode(), None, -1
        while not self._thread.pause(LOOK):
            if self._inode() != inode:
                self._connections.close()
                return
            with self._connections.lend() as connection:
                (version,) = connection.execute("PRAGMA data_version").fetchone()
            if connection is not last or version != seen:  # what another one says cannot be compared
                last, seen = connection, version
                for waker in list(self._wakers):
                    waker.wake()
