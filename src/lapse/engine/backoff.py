"""How long to wait before trying again."""

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles from `first` up to `most`; half of each wait is chance, so that many do not come back at once."""

    first: timedelta = timedelta(seconds=1)
    most: timedelta = timedelta(minutes=5)

    def delay(self, attempt: int) -> timedelta:
        """How long to wait after the given attempt, which counts from 1."""
        doublings = min(attempt - 1, 32)  # beyond that `most` decides, and 2**n would overflow a timedelta
        whole = min(self.first * (1 << doublings), self.most)
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
