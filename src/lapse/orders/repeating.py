"""Repeats the rounds of the sweep and of the reconciler until they are stopped. A round that fails ends nothing."""

import random
from collections.abc import Callable, Iterable
from datetime import timedelta

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import LapseError
from lapse.engine.events import Event, Hook, Kind, emit
from lapse.engine.waker import Waker


class Repeating:
    """Calls `once` at once, and then once per `every`, or up to a fifth earlier at random: many workers do the same.

    `name` names a round in the event for a failure; `timer` is the timer's name there. Of several failures in a row the
    first is reported.
    """

    def __init__(
        self, once: Callable[[], object], *, every: timedelta, name: str, timer: str, hooks: Iterable[Hook]
    ) -> None:
        self._once = once
        self._every = every.total_seconds()
        self._name = name
        self._timer = timer
        self._hooks = tuple(hooks)
        self._waker = Waker()
        self.stopping = False

    def run(self) -> None:
        """Repeat the rounds until `stop`."""
        failures = 0
        while not self.stopping:
            begun = SYSTEM_CLOCK.monotonic()
            try:
                self._once()
                failures = 0
            except Exception as error:  # noqa: BLE001 - the next round must not depend on this one
                failures += 1
                if failures == 1:
                    # The message of a LapseError is enough; any other error is a bug, so its traceback is needed.
                    trace = None if isinstance(error, LapseError) else error
                    reason = f"{self._name} failed and is being repeated: {error}"
                    emit(self._hooks, Event(kind=Kind.FAILED, timer=self._timer, reason=reason, error=trace))
            took = SYSTEM_CLOCK.monotonic() - begun
            # The randomness spreads load and protects no secret.
            self._waker.wait(self._every * random.uniform(0.8, 1.0) - took)  # noqa: S311

    def stop(self) -> None:
        """Let `run` return after the round in hand. May be called from any thread or signal handler."""
        self.stopping = True
        self._waker.interrupt()
