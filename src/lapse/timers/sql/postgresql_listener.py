"""Hears what PostgreSQL notifies, in a thread, and lives through the server's absence."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import psycopg

from lapse.engine.backoff import Backoff
from lapse.engine.errors import TimerError
from lapse.engine.waker import Waker
from lapse.timers.sql.postgresql_server import translated

RECONNECT = Backoff(first=timedelta(milliseconds=50), most=timedelta(seconds=2))
LISTEN = 0.5
"""Seconds between two looks at whether to end."""


class PostgresListener:
    """Wakes the wakers of those timers whose names are notified, and all of them whenever it listens anew."""

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connect = connect
        self._wakers: dict[str, Waker] = {}
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ensure(self, timer: str, waker: Waker) -> None:
        """Listen, if not yet: a fork has no threads of its parent's."""
        self._wakers[timer] = waker
        with self._starting:
            if (self._thread is None or not self._thread.is_alive()) and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="lapse-listener", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LISTEN * 4)

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            with suppress(TimerError), translated():  # the worker's own claims report an absent server
                failures += 1
                with self._connect() as connection:
                    connection.execute("LISTEN lapse_wake")
                    failures = 0
                    for waker in list(self._wakers.values()):  # what was notified in between is lost
                        waker.wake()
                    self._hear(connection)
            self._closed.wait(RECONNECT.delay(max(failures, 1)).total_seconds())

    def _hear(self, connection: psycopg.Connection) -> None:
        while not self._closed.is_set():
            for notification in connection.notifies(timeout=LISTEN):
                waker = self._wakers.get(notification.payload)
                if waker is not None:
                    waker.wake()
