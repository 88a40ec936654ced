"""SIGTERM and SIGINT stop a running worker or service."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lapse.engine.clock import SYSTEM_CLOCK

SAME_SIGNAL = 1.0
"""Seconds within which a second signal is ignored: a supervisor and a terminal may both send the same signal."""


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for each SIGTERM and SIGINT during the block. Outside the main thread, do nothing.

    `stop` interrupts the main thread, so it must take no lock that the main thread could hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python sets a signal's handler in the main thread only; the caller calls stop() itself
        return

    first: float | None = None

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal first
        now = SYSTEM_CLOCK.monotonic()
        if first is None or now - first >= SAME_SIGNAL:
            first = now
            stop()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
