"""Finds deadlines that other connections arm in MySQL while claims wait: MySQL has no notifications."""

from collections.abc import Callable
from contextlib import suppress

from lapse.engine.background import BackgroundThread
from lapse.engine.errors import TimerError
from lapse.engine.waker import Waker

LOOK = 0.05
"""Seconds between two looks. Each look reads both ends of an index and takes about 0.2 ms."""

PAUSE = 1.0
"""Seconds until the next look if the server did not answer."""

SOON = 3 * LOOK
"""Claims are woken this many seconds before a deadline. Then they sleep until exactly the deadline."""


class MysqlWatch:
    """Wakes a waker when a deadline of its timer comes near, no matter which process armed the deadline and when.

    Each look is independent of earlier looks, so no change can be missed. `next_in` returns the seconds until a timer's
    next deadline; None if there is none.
    """

    def __init__(self, next_in: Callable[[str], float | None]) -> None:
        self._next_in = next_in
        self._wakers: dict[str, Waker] = {}
        self._thread = BackgroundThread(self._run, name="lapse-watch")

    def ensure(self, timer: str, waker: Waker) -> None:
        """Start to watch, unless this process watches already, and wake this waker from now on."""
        self._wakers[timer] = waker
        self._thread.ensure()

    def close(self) -> None:
        """Stop watching."""
        self._thread.close(PAUSE * 2)

    def _run(self) -> None:
        while not self._thread.closing:
            with suppress(TimerError):  # the worker's own claims report an unavailable server
                while not self._thread.pause(LOOK):
                    for timer, waker in list(self._wakers.items()):
                        due_in = self._next_in(timer)
                        if due_in is not None and due_in < SOON:
                            waker.wake()
            self._thread.pause(PAUSE)
