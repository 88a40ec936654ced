"""A wait that another thread or a signal handler can end."""

from contextlib import suppress
from enum import Enum, auto
from queue import Empty, SimpleQueue


class _Call(Enum):
    LOOK = auto()
    STOP = auto()


class Waker:
    """Ends waits. It is built on a SimpleQueue for two of its properties.

    A SimpleQueue's `put` may be called from a signal handler. Its timed `get` waits on a semaphore, which wakes within
    microseconds; `poll` would round up to whole milliseconds.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call] = SimpleQueue()

    def wake(self) -> None:
        """End the current wait, so that its caller looks again: a deadline may be due earlier than it knew."""
        if self._calls.empty():  # else the reader of the earlier call looks again after this moment, which is enough
            self._calls.put(_Call.LOOK)

    def interrupt(self) -> None:
        """End the current wait, or else the next one, and make it return True. Each call ends one wait."""
        self._calls.put(_Call.STOP)

    def wait(self, seconds: float) -> bool:
        """Wait at most the given seconds, or until woken. Return True if interrupted; that uses the interrupt up."""
        with suppress(Empty):
            call = self._calls.get(timeout=max(seconds, 0.0))
            while call is _Call.LOOK:  # several LOOKs are one; each STOP ends one wait
                call = self._calls.get_nowait()
            return True
        return False
