"""Ends the waits of the claims of one timer: each has a bell of its own, for what comes to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from lapse.engine.waker import Waker


class Bells:
    """The bells of the claims that wait here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bells: tuple[Waker, ...] = ()  # replaced, never changed: a signal handler may be reading it
        self._interrupts: SimpleQueue[None] = SimpleQueue()

    @contextmanager
    def one(self) -> Iterator[Waker]:
        """Hang up a bell for a block."""
        bell = Waker()
        with self._lock:
            self._bells = (*self._bells, bell)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells = tuple(other for other in self._bells if other is not bell)

    def ring(self) -> None:
        """Let all look again."""
        for bell in self._bells:
            bell.wake()

    def interrupt(self) -> None:
        """Let one stop waiting for good, or the next that would wait. Signal-safe."""
        self._interrupts.put(None)
        self.ring()

    def interrupted(self) -> bool:
        """Whether whoever asks is to stop waiting; that is forgotten then."""
        try:
            self._interrupts.get_nowait()
        except Empty:
            return False
        return True
