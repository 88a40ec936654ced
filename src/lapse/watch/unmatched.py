"""Reports, a few times, that no key has the prefix, or that no key with the prefix expires."""

from collections.abc import Callable, Sequence

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerRefused
from lapse.watch.key_search import KeySearch

AGAIN_AFTER = (0.0, 60.0, 600.0, 3600.0)
"""Seconds after the first look at which to look again, until a key that expires has been seen."""


class Unmatched:
    """Looks for what the operator may have meant, as long as no key with the prefix has been seen to expire.

    `report` is called with one sentence. `pause` is that of `KeySearch`.
    """

    def __init__(
        self, client: redis.Redis, prefix: bytes, *, report: Callable[[str], None], pause: Callable[[float], bool]
    ) -> None:
        self._search = KeySearch(client, prefix, pause)
        self._report = report
        self._looks = list(AGAIN_AFTER)
        self._begun: float | None = None

    def look(self, seen: Sequence[bytes]) -> None:
        """Report what there is, if it is time to. `seen` are names with the prefix.

        Raises TimerUnavailable.
        """
        now = SYSTEM_CLOCK.monotonic()
        self._begun = now if self._begun is None else self._begun
        if not self._looks or now < self._begun + self._looks[0]:
            return
        try:
            finding = self._search.look(seen)
        except TimerRefused as error:
            self._looks.clear()
            self._report(f"no key was found, and which keys exist cannot be looked up: {error}")
            return
        if finding.matched:
            self._looks.clear()
            return
        while self._looks and now >= self._begun + self._looks[0]:
            del self._looks[0]
        self._report(finding.text)
