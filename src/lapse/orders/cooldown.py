"""Remembers the orders that should not be tried for a while: the last try failed, or the shop postponed them."""

from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.orders.port import Outcome, Result

POSTPONED = timedelta(minutes=15)
"""How long an order waits that the shop's `postpone` keeps without a time."""


class Cooldown:
    """Makes an order wait after a failure, longer each time, and until the time to which the shop postponed it.

    Kept in memory: a new process tries once more, which is harmless. It holds one small entry per waiting order. An
    entry expires when its order was not tried for twice the longest wait after a failure.
    """

    def __init__(self, backoff: Backoff, clock: Clock = SYSTEM_CLOCK) -> None:
        self._backoff = backoff
        self._clock = clock
        self._waits: dict[
            str, tuple[int, float]
        ] = {}  # key → number of failures, and the monotonic second from which the order may be tried

    def ready(self, key: str) -> bool:
        """Return whether the order may be tried now."""
        _, not_before = self._waits.get(key, (0, float("-inf")))
        return self._clock.monotonic() >= not_before

    def left(self, key: str) -> float:
        """Return the seconds until the order may be tried; 0 if it may be tried now."""
        _, not_before = self._waits.get(key, (0, float("-inf")))
        return max(0.0, not_before - self._clock.monotonic())

    def failed_again(self, key: str) -> None:
        """Record that the try failed. The next try has to wait longer."""
        times = self._times(key) + 1
        self._wait(key, times, self._backoff.delay(times))

    def record(self, key: str, result: Result) -> None:
        """Record the result of a try. An order whose gateway did not answer, or that was postponed, has to wait.

        It waits for as long as the result says; without that, by the back-off, or 15 minutes if it was postponed.
        """
        match result:
            case Result(Outcome.UNANSWERED, due_in=None):
                self.failed_again(key)
            case Result(Outcome.UNANSWERED, due_in=timedelta() as wait):
                self._wait(key, self._times(key), wait)
            case Result(Outcome.POSTPONED, due_in=wait):
                self._wait(key, 0, POSTPONED if wait is None else wait)
            case _:
                self._waits.pop(key, None)

    def _times(self, key: str) -> int:
        return self._waits.get(key, (0, 0.0))[0]

    def _wait(self, key: str, times: int, wait: timedelta) -> None:
        self._waits[key] = (times, self._clock.monotonic() + wait.total_seconds())

    def drop_expired(self) -> None:
        """Drop the entries of orders that have not been tried for a long time."""
        limit = self._clock.monotonic() - 2 * (self._backoff.most / timedelta(seconds=1))
        for key in [key for key, (_, not_before) in self._waits.copy().items() if not_before < limit]:
            self._waits.pop(key, None)
