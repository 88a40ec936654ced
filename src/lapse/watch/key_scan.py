"""Looks at all that a ledger knows, and at all keys with a prefix, without holding the server up."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.timers.redis.errors import translated
from lapse.watch.key_changes import CHANGED, UNWATCHED

STEP = 1000
"""Keys that the server goes over in one command; each takes it about a millisecond."""

TELL_EVERY = 5.0
"""Seconds between two reports."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is: keys of the database that were gone over, of about `total`; those with the prefix; seconds."""

    looked: int
    total: int
    found: int
    seconds: float
    done: bool


def glob(prefix: bytes) -> bytes:
    """Write the pattern of Redis's that names beginning with the prefix match, and no others."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]\\" else bytes([c]) for c in prefix) + b"*"


class KeyScan:
    """One look at everything. `learn` takes keys with their hints, `keep` turns a name into a key, None for none.

    Between two steps it rests as long as the last one took, so that it never has more than half of the server.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: bytes,
        ledger: str,
        *,
        learn: Callable[[Mapping[str, str]], None],
        keep: Callable[[bytes], str | None],
        tell: Callable[[Progress], None],
        pause: Callable[[float], bool],
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._ledger = ledger
        self._learn = learn
        self._keep = keep
        self._tell = tell
        self._pause = pause

    def run(self) -> None:
        """Learn of the keys that are there no more, then of all that there are. Ends early where `pause` says so.

        In this order, because a deadline whose key was deleted fires if it comes before its turn.

        Raises TimerUnavailable and TimerRefused.
        """
        begun = told = SYSTEM_CLOCK.monotonic()
        with translated():
            total = int(self._client.dbsize())
        self._look_for_the_deleted()
        found = step = 0
        for step, names in enumerate(self._steps(), start=1):
            found += len(names)
            self._learn_of(names, CHANGED)
            now = SYSTEM_CLOCK.monotonic()
            if now - told >= TELL_EVERY:
                told = now
                self._tell(Progress(min(step * STEP, total), total, found, now - begun, done=False))
        self._tell(Progress(total, total, found, SYSTEM_CLOCK.monotonic() - begun, done=True))

    def _look_for_the_deleted(self) -> None:
        """Disarm what is in the ledger for later and whose key is gone: it was deleted while nobody listened.

        Not on a server that has evicted keys: one that had to go is no order that was paid.
        """
        with translated():
            if int(self._client.info("stats").get("evicted_keys", 0)):
                return
        for members in self._soonest_first():
            self._learn_of([self._prefix + member for member in members], UNWATCHED)

    def _soonest_first(self) -> Iterator[list[bytes]]:
        """Give what the ledger has for later, in the order in which it is due."""
        with translated():
            seconds, microseconds = self._client.time()
        since, most = seconds * 1000 + microseconds // 1000, STEP
        while True:
            begun = SYSTEM_CLOCK.monotonic()
            with translated():
                part = cast(
                    "list[tuple[bytes, float]]",
                    self._client.zrangebyscore(self._ledger, since, "+inf", start=0, num=most, withscores=True),
                )
            yield [member for member, _ in part]
            if len(part) < most or self._pause(SYSTEM_CLOCK.monotonic() - begun):
                return
            # The last moment may have more than were given, so it comes again. One that fills a step comes whole.
            since, most = (int(part[-1][1]), STEP) if part[-1][1] > since else (since, 2 * most)

    def _steps(self) -> Iterator[list[bytes]]:
        pattern, cursor = glob(self._prefix), 0
        while True:
            begun = SYSTEM_CLOCK.monotonic()
            with translated():
                cursor, names = cast("tuple[int, list[bytes]]", self._client.scan(cursor, match=pattern, count=STEP))
            yield names
            if not cursor or self._pause(SYSTEM_CLOCK.monotonic() - begun):
                return

    def _learn_of(self, names: list[bytes], hint: str) -> None:
        keys = [key for name in names if (key := self._keep(name)) is not None]
        for start in range(0, len(keys), STEP // 2):
            self._learn(dict.fromkeys(keys[start : start + STEP // 2], hint))
