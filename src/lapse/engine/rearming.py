"""Arms the unpaid orders again when the timer's server may have lost them."""

import logging
from collections.abc import Callable

from lapse.engine.background import BackgroundThread
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.events import Event, Kind
from lapse.engine.timer import Timer

log = logging.getLogger("lapse")

RETRY_AFTER = 5.0
"""Seconds before a re-arming that failed is tried again."""


class Rearming:
    """Compares the timer's generation with that of the last arming. If it changed, arms in a separate thread.

    Meanwhile the worker goes on lapsing due orders. If the arming fails, the error is logged and the arming is tried
    again, as long as the worker runs.
    """

    def __init__(self, timer: Timer, rearm: Callable[[], int] | None, emit: Callable[[Event], None]) -> None:
        self._timer = timer
        self._rearm = rearm
        self._emit = emit
        self._armed_for: str | None = None
        self._generation = ""
        self._thread = BackgroundThread(self._run, name="lapse-rearm")
        self._not_before = float("-inf")

    def look(self) -> None:
        """Start to arm again if the generation has changed and no arming is under way. Returns at once."""
        if self._rearm is None or self._thread.alive:
            return
        generation = self._timer.generation()
        if generation == self._armed_for or SYSTEM_CLOCK.monotonic() < self._not_before:
            return
        self._generation = generation
        self._thread.ensure()

    def _run(self) -> None:
        if self._rearm is None:
            return
        begun = SYSTEM_CLOCK.monotonic()
        try:
            count = self._rearm()
        except Exception:
            self._not_before = SYSTEM_CLOCK.monotonic() + RETRY_AFTER
            log.exception("arming the unpaid orders again failed; trying again in %.0f s", RETRY_AFTER)
            return
        self._armed_for = self._generation
        seconds = SYSTEM_CLOCK.monotonic() - begun
        self._emit(Event(kind=Kind.REARMED, timer=self._timer.name, count=count, seconds=seconds))
