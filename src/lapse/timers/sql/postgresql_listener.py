"""Receives PostgreSQL's notifications in a thread, and reconnects after the server was unavailable."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import psycopg

from lapse.engine.background import BackgroundThread
from lapse.engine.backoff import Backoff
from lapse.engine.errors import TimerError
from lapse.engine.waker import Waker
from lapse.timers.sql.postgresql_errors import translated

RECONNECT = Backoff(first=timedelta(milliseconds=50), most=timedelta(seconds=2))
LISTEN = 0.5
"""Seconds between two checks for a request to stop."""


class PostgresListener:
    """Wakes the wakers of each timer whose name arrives. After each new connection, wakes all wakers."""

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connect = connect
        self._wakers: dict[str, Waker] = {}
        self._thread = BackgroundThread(self._run, name="lapse-listener")

    def ensure(self, timer: str, waker: Waker) -> None:
        """Start to listen, unless this process listens already, and wake this waker from now on."""
        self._wakers[timer] = waker
        self._thread.ensure()

    def close(self) -> None:
        """Stop listening."""
        self._thread.close(LISTEN * 4)

    def _run(self) -> None:
        failures = 0
        while not self._thread.closing:
            with suppress(TimerError), translated():  # the worker's own claims report an unavailable server
                failures += 1
                with self._connect() as connection:
                    connection.execute("LISTEN lapse_wake")
                    failures = 0
                    for waker in list(self._wakers.values()):  # notifications before this moment are lost
                        waker.wake()
                    self._receive(connection)
            self._thread.pause(RECONNECT.delay(max(failures, 1)).total_seconds())

    def _receive(self, connection: psycopg.Connection) -> None:
        while not self._thread.closing:
            for notification in connection.notifies(timeout=LISTEN):
                waker = self._wakers.get(notification.payload)
                if waker is not None:
                    waker.wake()
