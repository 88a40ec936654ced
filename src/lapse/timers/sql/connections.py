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
"""Idle connections that are kept. More may be lent at once."""

FORK_WAITS = 6.0
"""Seconds for which a fork waits until connections that must not cross it are back: none is lent for longer."""


class Closable(Protocol):
    """What every DB-API connection can do."""

    def close(self) -> None:
        """Give it up."""


C = TypeVar("C", bound=Closable)


class Connections(Generic[C]):
    """Lends connections that `connect` opens.

    Where one sees an error, it is closed, and so are those beside it, which may be as dead: the idle ones at once, the
    lent ones when they come back. `socket_of` gives the descriptor of a connection's socket: one on which something
    waits to be read while it is idle has been ended by its server, and is not lent again.

    A fork leaves the parent's connections alone and opens its own. With `crosses_forks=False` none is open while a
    process forks: it waits until all are back, and closes them.
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
        """How many are lent or being closed."""
        self._era = 0
        """How often all were closed."""
        self._forks = 0
        """How many forks are under way."""
        self._process = os.getpid()
        self._inherited: list[C] = []  # kept from the collector: to close a parent's connection would end it for both
        if not crosses_forks:
            _kept_from_forks.add(self)

    @contextmanager
    def lend(self) -> Iterator[C]:
        """Lend one for a block."""
        connection, era = self._take()
        try:
            if connection is None:
                connection = self._connect()
            try:
                yield connection
            except BaseException:
                dead, connection = connection, None
                dead.close()
                self.close()
                raise
        finally:
            self._give_back(connection, era)

    def close(self) -> None:
        """Close those that are idle now, and those that are lent when they come back."""
        with self._changed:
            self._disown()
            self._era += 1
            idle, self._idle = self._idle, []
            self._out += 1
        try:
            for connection in idle:
                connection.close()
        finally:
            self._is_done()

    def before_fork(self) -> None:
        """Lend none, wait for those that are lent, and close all."""
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
        """Lend again, in the child: of the parent's threads, which may have held the lock, there is none here."""
        self._changed = threading.Condition()
        self._out = self._forks = 0

    def _take(self) -> tuple[C | None, int]:
        """Give an idle one that seems alive, if any, and tell in which era that is."""
        with self._changed:
            self._disown()
            self._changed.wait_for(lambda: not self._forks)
            self._out += 1
            connection = self._idle.pop() if self._idle else None
            era = self._era
        if connection is None or self._socket_of is None or not _readable(self._socket_of(connection)):
            return connection, era
        connection.close()
        self.close()  # those beside it were ended with it
        return None, self._era

    def _give_back(self, connection: C | None, era: int) -> None:
        with self._changed:
            keep = era == self._era and not self._forks and len(self._idle) < MOST_IDLE
            if keep and connection is not None:
                self._idle.append(connection)
        try:
            if not keep and connection is not None:
                connection.close()
        finally:
            self._is_done()

    def _is_done(self) -> None:
        """Count one less that is lent or being closed: not before it is closed, for a fork waits for that."""
        with self._changed:
            self._out -= 1
            self._changed.notify_all()

    def _disown(self) -> None:
        """After a fork, leave the parent's connections alone."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._inherited += self._idle
            self._idle = []


_kept_from_forks: "WeakSet[Connections[Any]]" = WeakSet()


def _for_each(act: Callable[[Connections[Any]], None]) -> Callable[[], None]:
    def for_each() -> None:
        for connections in list(_kept_from_forks):
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
    except ValueError:  # it is closed
        return True
    return bool(poll.poll(0))


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
