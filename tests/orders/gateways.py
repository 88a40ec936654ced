"""A gateway whose calls stand still until the test lets them go on, and one that answers at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.orders import Attempt, Ruling, Verdict

PATIENCE = 60.0
"""Seconds after which a test gives up waiting. A test that passes never waits for so long."""


class SlowTill:
    """Every call stands still while `hangs` is true, until `release`. It answers what `verdicts` says, else CLOSED."""

    def __init__(self, *, hangs: bool = True) -> None:
        self.hangs = hangs
        self.verdicts: dict[str, Verdict | Exception] = {}
        self.called: list[str] = []
        self.threads: list[str] = []
        self._released = threading.Event()

    def close(self, attempt: Attempt) -> Ruling:
        """Return the verdict, or raise the error, when the test permits."""
        self.called.append(attempt.reference)
        self.threads.append(threading.current_thread().name)
        if self.hangs:
            assert self._released.wait(PATIENCE), "the test did not release the gateway"
        verdict = self.verdicts.get(attempt.reference, Verdict.CLOSED)
        if isinstance(verdict, Exception):
            raise verdict
        return Ruling(attempt, verdict)

    def release(self) -> None:
        """Let all calls go on, now and from now on."""
        self.hangs = False
        self._released.set()


@contextmanager
def hanging() -> Iterator[SlowTill]:
    """Yield a gateway that hangs, and release its calls at the end."""
    till = SlowTill()
    try:
        yield till
    finally:
        till.release()


def wait_until(condition: Callable[[], object]) -> None:
    """Look again and again until the condition is true."""
    end = SYSTEM_CLOCK.monotonic() + PATIENCE
    while not condition():
        assert SYSTEM_CLOCK.monotonic() < end, "it did not come to pass in time"
        SYSTEM_CLOCK.sleep(0.005)
