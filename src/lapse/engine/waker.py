"""A wait that another thread, or a signal handler, can end."""

from contextlib import suppress
from queue import Empty, SimpleQueue


class Waker:
    """Ends waits. It is built on a SimpleQueue for two of its properties.

    Its `put` may be called from a signal handler, and its timed `get` waits on a semaphore, which wakes within
    microseconds where `poll` rounds up to whole milliseconds.
    """

    def __init__(self) -> None:
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._interrupted = False

    def wake(self) -> None:
        """Something may have become due earlier than was known: look again."""
        self._bell.put(None)

    def interrupt(self) -> None:
        """Whoever waits, or waits next, shall stop waiting for good."""
        self._interrupted = True
        self._bell.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long, or until woken. True if interrupted, which it then forgets."""
        if not self._interrupted:
            with suppress(Empty):
                self._bell.get(timeout=max(seconds, 0.0))
                while True:  # wakes that came together are one wake
                    self._bell.get_nowait()
        interrupted, self._interrupted = self._interrupted, False
        return interrupted
