"""Asking the timer from a page. Its server may hang; a page must not."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from lapse.engine.errors import LapseError
from lapse.engine.timer import Timer
from lapse.integrations.django import timer

T = TypeVar("T")

WITHIN = 1.0
"""Seconds that a page waits for an answer."""

AT_ONCE = threading.BoundedSemaphore(4)
"""How many questions may be waiting in this process: a hanging server holds so many threads and no more."""


class TimerAway(Exception):
    """The timer's server gave no answer in time. The message says what was tried."""


class NoTimer(Exception):
    """LAPSE_TIMER is none: the sweep works alone."""


class _Question(Generic[T]):
    """One question, asked in a thread of its own."""

    def __init__(self, question: Callable[[Timer], T]) -> None:
        self._question = question
        self._done = threading.Event()
        self._answers: list[T] = []
        self._error: Exception | None = None
        threading.Thread(target=self._ask, name="shop-timer-asked", daemon=True).start()

    def _ask(self) -> None:
        try:
            if (opened := timer()) is not None:
                self._answers.append(self._question(opened))
        except Exception as error:  # noqa: BLE001  # raised again by answer()
            self._error = error
        finally:
            AT_ONCE.release()
            self._done.set()

    def answer(self, within: float) -> T:
        """Wait for the answer. Raises TimerAway, NoTimer, or what went wrong."""
        if not self._done.wait(within):
            raise TimerAway(f"no answer within {within:g} s")
        if isinstance(self._error, LapseError):
            raise TimerAway(str(self._error)) from self._error
        if self._error is not None:
            raise self._error
        if not self._answers:
            raise NoTimer
        return self._answers[0]


def ask(question: Callable[[Timer], T], *, within: float = WITHIN) -> T:
    """Ask the timer, for at most `within` seconds. Raises TimerAway or NoTimer."""
    if not AT_ONCE.acquire(blocking=False):
        raise TimerAway("earlier questions still wait for their answers")
    return _Question(question).answer(within)
