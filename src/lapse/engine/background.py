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
        self._starting = threading.Lock()
        self._closing = threading.Event()
        self._process = os.getpid()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def closing(self) -> bool:
        """Whether `close` has been called."""
        return self._closing.is_set()

    def ensure(self) -> bool:
        """Start the thread unless it runs. Return True if it replaces an earlier thread, which has ended.

        After `close`, this starts nothing.
        """
        self._after_fork()
        with self._starting:
            if self.alive or self.closing:
                return False
            replaces = self._thread is not None
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
            return replaces

    def pause(self, seconds: float) -> bool:
        """Wait the given seconds, or until `close` is called. Return True if the thread must end."""
        return self._closing.wait(seconds)

    def close(self, within: float = END_WITHIN) -> None:
        """Ask the thread to end, and wait up to `within` seconds until it ends. The thread itself may call this."""
        self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(within)

    def _after_fork(self) -> None:
        """Replace the lock and the event: a thread of the parent may have held either during the fork."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._starting = threading.Lock()
            closed, self._closing = self._closing.is_set(), threading.Event()
            if closed:
                self._closing.set()
