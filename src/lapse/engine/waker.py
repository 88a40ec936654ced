"""A wait that another thread, or a signal handler, can end."""

from contextlib import suppress
from enum import Enum, auto
from queue import Empty, SimpleQueue


class _Call(Enum):
    LOOK = auto()
    STOP = auto()


class Waker:
    """Ends waits. It is built on a SimpleQueue for two of its properties.

    Its `put` may be called from a signal handler, and its timed `get` waits on a semaphore, which wakes within
    microseconds where `poll` rounds up to whole milliseconds.
    """

    def __init__(self) -> None:
        self._bell: SimpleQueue[_Call] = SimpleQueue()

    def wake(self) -> None:
        """Something may have become due earlier than was known: look again."""
        if self._bell.empty():  # else whoever hears the earlier one looks after this moment, which is enough
            self._bell.put(_Call.LOOK)

    def interrupt(self) -> None:
        """One that waits, or waits next, shall stop waiting for good. Each call ends one wait."""
        self._bell.put(_Call.STOP)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long, or until woken. True if interrupted, which it then forgets."""
        with suppress(Empty):
            call = self._bell.get(timeout=max(seconds, 0.0))
            while call is _Call.LOOK:  # those that came together are one; what ends a wait is for one wait each
                call = self._bell.get_nowait()
            return True
        return False
