"""Connections to one database, lent to one thread at a time."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import ismethod
from typing import Any, Generic, Protocol, TypeVar

MOST_IDLE = 8
"""Idle connections that are kept. More may be lent at once."""


class Closable(Protocol):
    """What every DB-API connection can do."""

    def close(self) -> None:
        """Give it up."""


C = TypeVar("C", bound=Closable)


class Connections(Generic[C]):
    """Lends connections that `connect` opens. One that saw an error is not lent again, nor are those beside it."""

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[C] = []
        self._process = os.getpid()
        self._inherited: list[C] = []  # kept from the collector: to close a parent's connection would end it for both

    @contextmanager
    def lend(self) -> Iterator[C]:
        """Lend one for a block. Where the block raises, all that are idle are closed: they may be as dead."""
        connection = self._take() or self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            self.close()
            raise
        with self._lock:
            if len(self._idle) < MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close those that are idle."""
        with self._lock:
            self._disown()
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> C | None:
        with self._lock:
            self._disown()
            return self._idle.pop() if self._idle else None

    def _disown(self) -> None:
        """After a fork, leave the parent's connections alone."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._inherited += self._idle
            self._idle = []


def underlying(connection: Any) -> Any:  # noqa: ANN401 - whatever it is, the driver that needs it checks it
    """Give the driver's own connection from Django's or SQLAlchemy's around it, or the same where nothing is around."""
    if hasattr(connection, "ensure_connection"):  # Django's: it connects at the first query only
        connection.ensure_connection()
    inner = getattr(connection, "connection", connection)
    if ismethod(inner):  # a Session's, which brings it into its transaction
        connection = inner()
        inner = connection.connection
    if not hasattr(inner, "driver_connection"):
        return inner
    if inner is not connection and not connection.in_transaction():
        connection.begin()  # SQLAlchemy's commit is none where it knows of no transaction
    return inner.driver_connection
