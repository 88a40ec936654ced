"""Finds out, while claims wait, what somebody else has armed in MySQL: nothing there tells those who sleep."""

from collections.abc import Callable
from contextlib import suppress

from lapse.engine.background import BackgroundThread
from lapse.engine.errors import TimerError
from lapse.engine.waker import Waker

LOOK = 0.05
"""Seconds between two looks at the two ends of an index, some 0.2 ms each."""

PAUSE = 1.0
"""Seconds until the next look where the server gave no answer."""

SOON = 3 * LOOK
"""Seconds before a deadline within which sleepers are woken, so that they sleep until that very moment."""


class MysqlWatch:
    """Wakes a waker when a deadline of its timer comes near, whoever armed it and however long ago.

    It remembers nothing, so there is nothing that it could miss. `next_in` says in how many seconds a timer's next
    deadline is due (None: there is none).
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
            with suppress(TimerError):  # the worker's own claims report an absent server
                while not self._thread.pause(LOOK):
                    for timer, waker in list(self._wakers.items()):
                        due_in = self._next_in(timer)
                        if due_in is not None and due_in < SOON:
                            waker.wake()
            self._thread.pause(PAUSE)
