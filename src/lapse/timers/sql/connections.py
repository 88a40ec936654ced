"""Connections to one database, lent to one thread at a time."""

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import ismethod
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

MOST_IDLE = 8
"""The largest number of idle connections that stay open. More connections may be lent at once."""

FORK_WAITS = 6.0
"""Seconds that a fork waits for lent connections that must not be open during it. No loan lasts longer."""


class Closable(Protocol):
    """A DB-API connection; only `close` is needed here."""

    def close(self) -> None:
        """Close the connection."""


C = TypeVar("C", bound=Closable)


class Connections(Generic[C]):
    """Lends connections that `connect` opens.

    After an error on one connection, all connections are closed, because the others may be broken too. Idle connections
    are closed at once, lent connections when they are returned. `socket_of` returns the descriptor of a connection's
    socket. If the socket of an idle connection has data to read, the server has ended the connection, and it is not
    lent again.

    After a fork, the child leaves the parent's connections alone and opens its own. With `crosses_forks=False` no
    connection is open during a fork: the fork waits until all are returned, and closes them.
    """

    def __init__(
        self,
        connect: Callable[[], C],
        *,
        socket_of: Callable[[C], int] | None = None,
        crosses_forks: bool = True,
    ) -> None:
        self._connect = connect
        self._socket_of = socket_of
        self._changed = threading.Condition()
        self._idle: list[C] = []
        self._out = 0
        """How many connections are lent or being closed."""
        self._closings = 0
        """How often all connections were closed."""
        self._forks = 0
        """How many forks are in progress."""
        self._process = os.getpid()
        self._inherited: list[C] = []  # never garbage-collected: closing a parent's connection would end it for both
        if not crosses_forks:
            _not_across_forks.add(self)

    @contextmanager
    def lend(self) -> Iterator[C]:
        """Lend a connection for a block."""
        connection, closings = self._take()
        try:
            if connection is None:
                connection = self._connect()
            try:
                yield connection
            except BaseException:
                broken, connection = connection, None
                broken.close()
                self.close()
                raise
        finally:
            self._give_back(connection, closings)

    def close(self) -> None:
        """Close the idle connections now, and the lent ones when they are returned."""
        with self._changed:
            self._disown()
            self._closings += 1
            idle, self._idle = self._idle, []
            self._out += 1
        try:
            for connection in idle:
                connection.close()
        finally:
            self._count_down()

    def before_fork(self) -> None:
        """Stop lending, wait for the lent connections, and close all."""
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._out, FORK_WAITS)
        self.close()

    def after_fork(self) -> None:
        """Lend again, in the parent."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def begin_in_child(self) -> None:
        """Lend again, in the child. A thread of the parent may have held the lock, and the child has no such thread."""
        self._changed = threading.Condition()
        self._out = self._forks = 0

    def _take(self) -> tuple[C | None, int]:
        """Return an idle connection that seems alive, or None, and how often all connections were closed so far."""
        with self._changed:
            self._disown()
            self._changed.wait_for(lambda: not self._forks)
            self._out += 1
            connection = self._idle.pop() if self._idle else None
            closings = self._closings
        if connection is None or self._socket_of is None or not _readable(self._socket_of(connection)):
            return connection, closings
        connection.close()
        self.close()  # the server has ended the other connections too
        return None, self._closings

    def _give_back(self, connection: C | None, closings: int) -> None:
        with self._changed:
            keep = closings == self._closings and not self._forks and len(self._idle) < MOST_IDLE
            if keep and connection is not None:
                self._idle.append(connection)
        try:
            if not keep and connection is not None:
                connection.close()
        finally:
            self._count_down()

    def _count_down(self) -> None:
        """Count one lent or closing connection less. Close the connection before this call: a fork waits for that."""
        with self._changed:
            self._out -= 1
            self._changed.notify_all()

    def _disown(self) -> None:
        """In a child after a fork, leave the parent's connections alone."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._inherited += self._idle
            self._idle = []


_not_across_forks: "WeakSet[Connections[Any]]" = WeakSet()


def _for_each(act: Callable[[Connections[Any]], None]) -> Callable[[], None]:
    def for_each() -> None:
        for connections in list(_not_across_forks):
            act(connections)

    return for_each


os.register_at_fork(
    before=_for_each(Connections.before_fork),
    after_in_parent=_for_each(Connections.after_fork),
    after_in_child=_for_each(Connections.begin_in_child),
)


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    try:
        poll.register(descriptor, select.POLLIN)
    except ValueError:  # the descriptor is closed
        return True
    return bool(poll.poll(0))


def underlying(connection: Any) -> Any:  # noqa: ANN401 - any object: the driver checks it
    """Return the driver's own connection from Django's or SQLAlchemy's. Return any other connection unchanged."""
    if hasattr(connection, "ensure_connection"):  # Django's, which connects only at the first query
        connection.ensure_connection()
    inner = getattr(connection, "connection", connection)
    if ismethod(inner):  # a Session's method, which brings the connection into the Session's transaction
        connection = inner()
        inner = connection.connection
    if not hasattr(inner, "driver_connection"):
        return inner
    if inner is not connection and not connection.in_transaction():
        connection.begin()  # otherwise SQLAlchemy knows of no transaction, and its commit does nothing
    return inner.driver_connection
