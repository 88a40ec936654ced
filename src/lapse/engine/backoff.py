"""How long to wait before trying again."""

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` up to `most`. Half of each wait is random, so that retries spread."""

    first: timedelta = timedelta(seconds=1)
    most: timedelta = timedelta(minutes=5)

    def delay(self, attempt: int) -> timedelta:
        """Return how long to wait after the given attempt, which counts from 1."""
        doublings = min(attempt - 1, 32)  # beyond that `most` is shorter, and 2**n would overflow a timedelta
        longest = min(self.first * (1 << doublings), self.most)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
