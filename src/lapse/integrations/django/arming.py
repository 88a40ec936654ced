"""Arming and disarming after the commit, without ever failing a sale."""

import logging
import threading
from collections.abc import Callable
from functools import partial

from django.db import transaction

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import LapseError
from lapse.engine.timer import Timer

log = logging.getLogger("lapse")

LEFT_ALONE = 5.0
"""Seconds for which a timer that gave no answer is not asked again, so that it holds up no more than one sale."""


class Arming:
    """Tells the timer once the order's transaction is committed; nothing of one that is rolled back.

    If the process dies in between, or the timer is away, the timer never hears of it: the sweep lapses such orders,
    and a deadline that was not disarmed fires for nothing. `timer` opens the timer, or answers None.
    """

    def __init__(self, timer: Callable[[], Timer | None], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._timer = timer
        self._clock = clock
        self._lock = threading.Lock()
        self._away = False
        self._not_before = 0.0

    def after_commit(self, what: Callable[[Timer], None], using: str) -> None:
        """Call `what` with the timer after the commit; at once outside a transaction."""
        # robust: whatever else goes wrong is logged by Django, and the sale stands.
        transaction.on_commit(partial(self._tell, what), using=using, robust=True)

    def _tell(self, what: Callable[[Timer], None]) -> None:
        if not self._worth_a_try():
            return
        try:
            timer = self._timer()
            if timer is None:
                return
            what(timer)
        except LapseError as error:
            if self._is_news(away=True):
                log.warning("the timer cannot be told, so the sweep has to find the orders: %s", error)
        else:
            if self._is_news(away=False):
                log.warning("the timer can be told again")

    def _worth_a_try(self) -> bool:
        """False while the timer is known to be away, but for one try now and then: each may hang for a while."""
        with self._lock:
            if not self._away:
                return True
            now = self._clock.monotonic()
            if now < self._not_before:
                return False
            self._not_before = now + LEFT_ALONE
            return True

    def _is_news(self, *, away: bool) -> bool:
        with self._lock:
            before, self._away = self._away, away
            if away and not before:
                self._not_before = self._clock.monotonic() + LEFT_ALONE
        return before is not away
