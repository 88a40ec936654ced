"""What is opened at its first use, opened again when it was lost, and left alone in a fork."""

import os
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from lapse.engine.errors import TimerUnavailable
from lapse.timers.rabbitmq.connection import Link


class Losable(Protocol):
    """What stands on a connection."""

    @property
    def link(self) -> Link:
        """The connection."""
        ...

    @property
    def lost(self) -> bool:
        """Whether it is gone."""
        ...


C = TypeVar("C", bound=Losable)


class Kept(Generic[C]):
    """Keeps what `open_new` opens."""

    def __init__(self, open_new: Callable[[], C]) -> None:
        self._open_new = open_new
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._one: C | None = None
        self._inherited: list[C] = []  # kept from the collector: the parent's, with no thread here to serve it
        self._closed = False
        self._failures = 0
        self._last_failure = ""

    def get(self) -> C:
        """Give the one that stands, or a new one. Raises what opening raises.

        Those who waited while it could not be opened do not try again, one after the other: each try may take long.
        """
        self._disown()
        failures = self._failures
        with self._lock:
            if self._closed:
                raise TimerUnavailable("this timer is closed: open another")
            if self._one is None or self._one.lost:
                if self._failures != failures:
                    raise TimerUnavailable(self._last_failure)
                try:
                    self._one = self._open_new()
                except TimerUnavailable as error:
                    self._failures += 1
                    self._last_failure = str(error)
                    raise
            return self._one

    def peek(self) -> C | None:
        """Give the one that stands, if any."""
        self._disown()
        return None if self._one is None or self._one.lost else self._one

    def close(self) -> None:
        """Close it for good."""
        self._disown()
        with self._lock:
            self._closed = True
            if self._one is not None:
                self._one.link.close()

    def _disown(self) -> None:
        """After a fork, leave the parent's connection alone, and its lock, which a thread may have held."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.Lock()
            if self._one is not None:
                self._inherited.append(self._one)
                self._one = None
