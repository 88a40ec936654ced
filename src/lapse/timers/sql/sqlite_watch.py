"""Notices that another connection, of this process or any, has changed an SQLite file: nothing else tells."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress

from lapse.engine.waker import Waker

LOOK = 0.02
"""Seconds between two looks at the file's version, a few microseconds each."""

PAUSE = 1.0
"""Seconds until the next try where the file cannot be read."""


class SqliteWatch:
    """Wakes the wakers when the file's version changes. `connect` opens the file."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], inode: Callable[[], int]) -> None:
        self._connect = connect
        self._inode = inode
        self._wakers: set[Waker] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def ensure(self, waker: Waker) -> None:
        """Watch, if not yet: a fork has no threads of its parent's."""
        self._wakers.add(waker)
        if (self._thread is None or not self._thread.is_alive()) and not self._closed.is_set():
            self._thread = threading.Thread(target=self._run, name="lapse-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PAUSE * 2)

    def _run(self) -> None:
        while not self._closed.is_set():
            with suppress(sqlite3.Error, OSError), closing(self._connect()) as connection:  # claims report these
                inode, seen = self._inode(), -1
                while not self._closed.wait(LOOK) and self._inode() == inode:
                    (version,) = connection.execute("PRAGMA data_version").fetchone()
                    if version != seen:
                        seen = version
                        for waker in list(self._wakers):
                            waker.wake()
            self._closed.wait(PAUSE)
