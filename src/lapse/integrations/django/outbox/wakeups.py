"""Wakes this process's own workers of the outbox, so that what the process itself publishes is sent at once.

A message that another process has published is found by the next look at the table, within a second.
"""

from weakref import WeakSet

from lapse.engine.waker import Waker

_wakers: WeakSet[Waker] = WeakSet()


def listen(waker: Waker) -> None:
    """Let `wake_all` end the waits of this waker, as long as the waker exists."""
    _wakers.add(waker)


def workers_here() -> bool:
    """Return whether a worker of the outbox runs in this process."""
    return bool(_wakers)


def wake_all() -> None:
    """End the current waits of this process's workers."""
    for waker in list(_wakers):
        waker.wake()
