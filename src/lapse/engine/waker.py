"""A wait that another thread, or a signal handler, can end; and the claim that waits so."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.deadline import Claim

LOOK_AGAIN = 1.0
"""Seconds after which a waiting claim looks again although nothing woke it: a wake-up may be lost."""


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
        """Whoever waits, or waits next, shall return whatever is due."""
        self._interrupted = True
        self._bell.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long, or until woken. True if interrupted."""
        if not self._interrupted:
            with suppress(Empty):
                self._bell.get(timeout=max(seconds, 0.0))
                while True:  # wakes that came together are one wake
                    self._bell.get_nowait()
        interrupted, self._interrupted = self._interrupted, False
        return interrupted


def claim_when_due(
    take: Callable[[], tuple[list[Claim], float | None]],
    waker: Waker,
    seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> list[Claim]:
    """Call `take` until it yields claims, `seconds` are over, or the waker is interrupted.

    `take` answers the claims and in how many seconds the next deadline is due (None: none is armed). The sleep
    lasts exactly until then by the monotonic clock.
    """
    end = clock.monotonic() + seconds
    while True:
        claims, due_in = take()
        left = end - clock.monotonic()
        if claims or left <= 0:
            return claims
        pause = min(left, LOOK_AGAIN, LOOK_AGAIN if due_in is None else due_in)
        if waker.wait(pause):
            return take()[0]
