"""The circuit of one gateway: while the gateway does not answer, it is not called, except for one call now and then."""

import logging
from datetime import timedelta

from lapse.engine.clock import Clock

log = logging.getLogger("lapse")

FAILURES = 5
"""After so many calls in a row without a clear answer the circuit opens."""

SUBJECTS = 2
"""The failed calls must be about at least so many attempts: an attempt that no gateway can judge proves nothing."""

FIRST_PROBE = timedelta(seconds=5)
"""How long the gateway is not called after the circuit has opened. The time doubles with each probe that fails."""

LAST_PROBE = timedelta(seconds=60)
"""The longest time between two probes."""


class Circuit:
    """Decides whether a gateway is called. It logs one warning when it opens, and one line when it closes again.

    A call fails if it raises, if its answer is unclear, or if it takes longer than its budget. The circuit is not
    thread-safe: its owner holds a lock.
    """

    def __init__(self, gateway: str, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self._failures = 0
        self._subjects: set[str] = set()
        self._opened_at: float | None = None
        self._not_before = 0.0
        self._delay = FIRST_PROBE.total_seconds()
        self._probe: object | None = None

    def admits(self, call: object) -> bool:
        """Return whether the gateway may be called. If the circuit is open, the call that is admitted is the probe."""
        if self._opened_at is None:
            return True
        if self._probe is not None or self._clock.monotonic() < self._not_before:
            return False
        self._probe = call
        return True

    def is_probe(self, call: object) -> bool:
        """Return whether this call is the probe of the open circuit."""
        return self._probe is call

    def wait(self) -> float:
        """Return the seconds until a call may be admitted: 0 if the circuit is closed or a probe is due."""
        return 0.0 if self._opened_at is None else max(0.0, self._not_before - self._clock.monotonic())

    def answered(self, call: object) -> None:
        """Record a clear answer within the budget: the gateway is there."""
        self._failures = 0
        self._subjects.clear()
        if self._probe is call:
            self._probe = None
        if self._opened_at is None:
            return
        seconds = self._clock.monotonic() - self._opened_at
        self._opened_at, self._probe, self._delay = None, None, FIRST_PROBE.total_seconds()
        log.info("gateway %r answers again after %.0f s: its orders are tried again", self._gateway, seconds)

    def failed(self, call: object, subject: str) -> bool:
        """Record a call without a clear answer. Return True if the gateway is not to be called from now on.

        `subject` names the attempt that the call was about.
        """
        now = self._clock.monotonic()
        if self._opened_at is not None:
            if self._probe is not call:
                return False  # it began before the circuit opened
            self._probe = None
            self._delay = min(2 * self._delay, LAST_PROBE.total_seconds())
            self._not_before = now + self._delay
            return True
        self._failures += 1
        self._subjects.add(subject)
        if self._failures < FAILURES or len(self._subjects) < SUBJECTS:
            return False
        self._opened_at = now
        self._not_before = now + self._delay
        log.warning(
            "gateway %r gave no clear answer to %d calls in a row: it is not called for %.0f s, then one call "
            "tries it, until it answers. Orders with a payment at this gateway stay held and are tried again; "
            "all other orders lapse on time",
            self._gateway,
            self._failures,
            self._delay,
        )
        return True
