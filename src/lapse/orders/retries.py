"""Tries again, in one background thread, what a gateway has not answered yet, until it is done."""

import logging
import os
import threading
from collections.abc import Callable, Hashable
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger("lapse")

MOST = 1000
"""How many may wait at once in one process. Further ones are left to the order's deadline and the reconciler."""

LOOK = 0.2
"""Seconds between two looks at what waits: something may be added that is to be tried earlier."""

AFTER_ERROR = Backoff(first=timedelta(seconds=1), most=timedelta(minutes=1))
"""How long to wait after a try that raised, such as while the database is away."""

Again = Callable[[], timedelta | None]
"""One more try. Returns None if all is done, and otherwise how long to wait before the next try."""


class Retries:
    """Calls each function again and again until it returns None. Nothing is stored: the work ends with the process.

    The thread starts when something is added and ends when nothing waits. `after` is called in the thread after each
    try; it closes what was opened there, such as database connections. A forked process begins with nothing.
    """

    def __init__(self, *, after: Callable[[], None] = lambda: None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._after = after
        self._clock = clock
        self._by_process: dict[int, _Process] = {}

    def add(self, name: Hashable, again: Again, wait: timedelta) -> None:
        """Call `again` after `wait`, in a copy of the caller's context. What has the same name is replaced."""
        own = self._by_process.setdefault(os.getpid(), _Process())
        with own.lock:
            if name not in own.waiting and len(own.waiting) >= MOST:
                log.warning("too many cancels wait for gateways: the deadline of order %s has to do this one", name)
                return
            own.waiting[name] = _Waiting(again, self._clock.monotonic() + wait.total_seconds(), copy_context())
            if not own.running:
                threading.Thread(target=self._run, args=[own], name="lapse-retries", daemon=True).start()
                own.running = True

    def forget(self) -> None:
        """Drop what waits in this process. A try that runs ends, and is not repeated."""
        own = self._by_process.setdefault(os.getpid(), _Process())
        with own.lock:
            own.waiting.clear()

    def _run(self, own: "_Process") -> None:
        while True:
            with own.lock:
                if not own.waiting:
                    own.running = False
                    return
                now = self._clock.monotonic()
                due = [(name, one) for name, one in own.waiting.items() if one.not_before <= now]
            for name, one in due:
                self._try(own, name, one)
            if not due:
                self._clock.sleep(LOOK)

    def _try(self, own: "_Process", name: Hashable, one: "_Waiting") -> None:
        try:
            wait = one.context.run(one.again)
        except Exception as error:  # noqa: BLE001 - a database that is away must not end the retries of the others
            one.failures += 1
            wait = AFTER_ERROR.delay(one.failures)
            log.warning("a cancel that waits for a gateway could not be repeated; it is tried again: %s", error)
        finally:
            self._after()
        with own.lock:
            if wait is not None:
                one.not_before = self._clock.monotonic() + wait.total_seconds()
            elif own.waiting.get(name) is one:
                del own.waiting[name]


class _Process:
    """What waits in one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: dict[Hashable, _Waiting] = {}
        self.running = False


@dataclass(eq=False, slots=True)
class _Waiting:
    again: Again
    not_before: float
    context: Context
    failures: int = 0
