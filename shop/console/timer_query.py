"""Querying the timer from a page. The timer's server may hang; a page must not."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from django.conf import settings

from lapse import LapseError, Timer
from lapse.integrations.django import timer

T = TypeVar("T")

WITHIN = 1.0
"""Seconds that a page waits for an answer."""

AT_ONCE = threading.BoundedSemaphore(4)
"""How many queries may wait in this process: a server that hangs blocks so many threads and no more."""


class TimerNotAnswering(Exception):
    """The timer's server gave no answer in time. The message says what was tried."""


class NoTimer(Exception):
    """LAPSE_TIMER is none: the sweep works alone."""


class _Query(Generic[T]):
    """One query, made in a thread of its own."""

    def __init__(self, question: Callable[[Timer], T]) -> None:
        self._question = question
        self._done = threading.Event()
        self._answers: list[T] = []
        self._error: Exception | None = None
        threading.Thread(target=self._run, name="shop-timer-query", daemon=True).start()

    def _run(self) -> None:
        try:
            if (opened := timer()) is not None:
                self._answers.append(self._question(opened))
        except Exception as error:  # noqa: BLE001  # raised again by answer()
            self._error = error
        finally:
            AT_ONCE.release()
            self._done.set()

    def answer(self, within: float) -> T:
        """Wait for the answer and return it. Raises TimerNotAnswering, NoTimer, or the error of the query."""
        if not self._done.wait(within):
            raise TimerNotAnswering(f"no answer within {within:g} s")
        if isinstance(self._error, LapseError):
            raise TimerNotAnswering(str(self._error)) from self._error
        if self._error is not None:
            raise self._error
        if not self._answers:
            raise NoTimer
        return self._answers[0]


def query(question: Callable[[Timer], T], *, within: float = WITHIN) -> T:
    """Call `question` with the timer and return its answer, after `within` seconds at most.

    Raises TimerNotAnswering or NoTimer.
    """
    if not AT_ONCE.acquire(blocking=False):
        raise TimerNotAnswering("earlier queries still wait for their answers")
    return _Query(question).answer(within)


def mechanism() -> str:
    """Return the scheme of LAPSE_TIMER, such as "redis", or "none". The rest of the URL may hold a password."""
    return (settings.LAPSE_TIMER or "none").partition(":")[0]
