"""Whether a receiver is there. While it is not, one message at a time tries it: the others keep their tries."""

import threading
from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK, Clock

FAILURES = 5
"""After so many failures in a row the receiver is taken for unavailable."""

KEYS = 2
"""The failures must be about at least so many keys: one message that a receiver refuses proves nothing."""

PROBE = Backoff(first=timedelta(seconds=1), most=timedelta(seconds=30))
"""The waits between two tries of a receiver that is unavailable."""


class Availability:
    """Decides how many messages may be claimed for one receiver. Thread-safe; each process keeps its own."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._keys: set[str] = set()
        self._probes = 0
        self._not_before = 0.0

    @property
    def away(self) -> bool:
        """Whether the receiver is taken for unavailable."""
        return self._failures >= FAILURES and len(self._keys) >= KEYS

    def room(self, limit: int) -> int:
        """Return how many messages may be claimed now, at most `limit`."""
        with self._lock:
            if not self.away:
                return limit
            return 0 if self._clock.monotonic() < self._not_before else 1

    def claimed(self) -> None:
        """Record that messages were claimed. While the receiver is unavailable, the one message is the probe."""
        with self._lock:
            if self.away:  # the probe's result comes earlier, but it may never come
                self._not_before = self._clock.monotonic() + PROBE.most.total_seconds()

    def succeeded(self) -> bool:
        """Record a success. Return True if the receiver was taken for unavailable until now."""
        with self._lock:
            back, self._failures, self._probes = self.away, 0, 0
            self._keys.clear()
            return back

    def failed(self, key: str) -> bool:
        """Record a failure of a message of this key. Return True if the receiver is taken for unavailable from now."""
        with self._lock:
            before = self.away
            self._failures += 1
            if len(self._keys) < KEYS:
                self._keys.add(key)
            if self.away:
                self._probes += 1
                self._not_before = self._clock.monotonic() + PROBE.delay(self._probes).total_seconds()
            return self.away and not before
