"""Opens a connection at its first use, and a new one after a loss. A forked process opens its own connection."""

import os
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from lapse.engine.errors import TimerUnavailable
from lapse.timers.rabbitmq.connection import Connection


class Losable(Protocol):
    """An object that works over a connection: a `Publisher` or a `Consumer`."""

    @property
    def connection(self) -> Connection:
        """The connection."""
        ...

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        ...


C = TypeVar("C", bound=Losable)


class Reconnecting(Generic[C]):
    """Holds the object that `open_new` opens, and replaces it after its connection is lost."""

    def __init__(self, open_new: Callable[[], C]) -> None:
        self._open_new = open_new
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._current: C | None = None
        self._inherited: list[C] = []  # the parent's, which must not be garbage-collected: that would close them
        self._closed = False
        self._failures = 0
        self._last_failure = ""

    def get(self) -> C:
        """Return the open object, opening one if needed. Raises what `open_new` raises.

        If one thread's try fails, threads that waited for it fail with it: each further try may take long.
        """
        self._disown()
        failures = self._failures
        with self._lock:
            if self._closed:
                raise TimerUnavailable("this timer is closed: open another")
            if self._current is None or self._current.lost:
                if self._failures != failures:
                    raise TimerUnavailable(self._last_failure)
                try:
                    self._current = self._open_new()
                except TimerUnavailable as error:
                    self._failures += 1
                    self._last_failure = str(error)
                    raise
            return self._current

    def peek(self) -> C | None:
        """Return the open object, or None if none is open."""
        self._disown()
        return None if self._current is None or self._current.lost else self._current

    def close(self) -> None:
        """Close the connection for good."""
        self._disown()
        with self._lock:
            self._closed = True
            if self._current is not None:
                self._current.connection.close()

    def _disown(self) -> None:
        """After a fork, use neither the parent's connection nor its lock, which a thread of the parent may hold."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.Lock()
            if self._current is not None:
                self._inherited.append(self._current)
                self._current = None
