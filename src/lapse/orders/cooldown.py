"""Which orders to leave alone for now, because the last look at them led nowhere."""

from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK, Clock


class Patience:
    """Waits longer each time, order by order. It is kept in memory: a new process asks once more, which is harmless.

    It holds one small entry per order that is stuck, and forgets one that was not seen for twice the longest wait.
    """

    def __init__(self, backoff: Backoff, clock: Clock = SYSTEM_CLOCK) -> None:
        self._backoff = backoff
        self._clock = clock
        self._waits: dict[str, tuple[int, float]] = {}  # key → times in vain, and not before which monotonic second

    def ready(self, key: str) -> bool:
        """Whether it is worth a look now."""
        _, not_before = self._waits.get(key, (0, float("-inf")))
        return self._clock.monotonic() >= not_before

    def in_vain(self, key: str) -> None:
        """Note that the look led nowhere: the next one is further off."""
        times = self._waits.get(key, (0, 0.0))[0] + 1
        self._waits[key] = (times, self._clock.monotonic() + self._backoff.delay(times).total_seconds())

    def done(self, key: str) -> None:
        """Note that the look led somewhere."""
        self._waits.pop(key, None)

    def forget_the_old(self) -> None:
        """Drop entries of orders that nobody meets any more."""
        limit = self._clock.monotonic() - 2 * (self._backoff.most / timedelta(seconds=1))
        for key in [key for key, (_, not_before) in self._waits.copy().items() if not_before < limit]:
            self._waits.pop(key, None)
