"""SIGTERM and SIGINT, while something runs that can be told to stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lapse.engine.clock import SYSTEM_CLOCK

SAME_SIGNAL = 1.0
"""Seconds within which a second signal is the first one again: a supervisor and a terminal may both send it."""


@contextmanager
def told_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for each SIGTERM and SIGINT that comes meanwhile, in the main thread; elsewhere do nothing.

    `stop` runs between two steps of whatever the main thread does, so it must take no lock that one could hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may; whoever works elsewhere calls stop() himself
        return

    first: float | None = None

    def hear(_number: int, _frame: FrameType | None) -> None:
        nonlocal first
        now = SYSTEM_CLOCK.monotonic()
        if first is None or now - first >= SAME_SIGNAL:
            first = now
            stop()

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
