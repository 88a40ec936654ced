"""Notices that another connection, of this process or any, has changed an SQLite file: nothing else tells."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress

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
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ensure(self, waker: Waker) -> None:
        """Watch, if not yet: a fork has no threads of its parent's."""
        self._wakers.add(waker)
        with self._starting:
            if (self._thread is None or not self._thread.is_alive()) and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="lapse-watch", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PAUSE * 2)
        self._connections.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            with suppress(sqlite3.Error, OSError):  # claims report these
                self._look()
            self._closed.wait(PAUSE)

    def _look(self) -> None:
        """Compare what one connection says again and again, until the file is another one."""
        inode, last, seen = self._inode(), None, -1
        while not self._closed.wait(LOOK):
            if self._inode() != inode:
                self._connections.close()
                return
            with self._connections.lend() as connection:
                (version,) = connection.execute("PRAGMA data_version").fetchone()
            if connection is not last or version != seen:  # what another one says cannot be compared
                last, seen = connection, version
                for waker in list(self._wakers):
                    waker.wake()
