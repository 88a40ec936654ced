"""A background thread that starts at its first use, and starts again if it has ended, for example after a fork."""

import os
import threading
from collections.abc import Callable

END_WITHIN = 2.0
"""Seconds that `close` waits for the thread to end."""


class BackgroundThread:
    """Runs `run` in a daemon thread named `name`, in at most one thread at a time.

    A forked process has none of its parent's threads, so call `ensure` before each use. `run` must return soon after
    `closing` becomes True: it waits with `pause` only, or checks `closing` between two steps.
    """

    def __init__(self, run: Callable[[], None], *, name: str) -> None:
        self._run = run
        self._name = name
        self._thread: threading.Thread | None = None
        self._closed = False
        self._by_process: dict[int, _Own] = {}

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def closing(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    def ensure(self) -> bool:
        """Start the thread unless it runs. Return True if it replaces an earlier thread, which has ended.

        After `close`, this starts nothing.
        """
        with self._own().starting:
            if self.alive or self.closing:
                return False
            replaces = self._thread is not None
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
            return replaces

    def pause(self, seconds: float) -> bool:
        """Wait the given seconds, or until `close` is called. Return True if the thread must end."""
        own = self._own()
        return self._closed or own.closing.wait(seconds)

    def close(self, within: float = END_WITHIN) -> None:
        """Ask the thread to end, and wait up to `within` seconds until it ends. The thread itself may call this."""
        self._closed = True
        self._own().closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(within)

    def _own(self) -> "_Own":
        """Return this process's own lock and event. Two threads that ask first in a forked process get the same."""
        return self._by_process.setdefault(os.getpid(), _Own())


class _Own:
    """A lock and an event of one process. A thread of the parent may have held the parent's during the fork."""

    def __init__(self) -> None:
        self.starting = threading.Lock()
        self.closing = threading.Event()
