"""Scans all keys of a ledger and all keys with a prefix, slowly enough to leave the server half of its time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.timers.redis.errors import translated
from lapse.watch.key_changes import CHANGED, UNWATCHED

STEP = 1000
"""How many keys the server scans in one command, which takes it about a millisecond."""

EXAMPLES = 100
"""How many names of found keys are kept."""

REPORT_EVERY = 5.0
"""Seconds between two reports."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a scan: it has scanned `scanned` of about `total` keys.

    `found` of them have the prefix and an order's id, `left_out` have the prefix and no such id. `examples` are names
    of found keys.
    """

    scanned: int
    total: int
    found: int
    left_out: int
    examples: tuple[bytes, ...]
    seconds: float
    done: bool


def glob(prefix: bytes) -> bytes:
    """Return the Redis pattern that matches only names that begin with the prefix."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]\\" else bytes([c]) for c in prefix) + b"*"


class KeyScan:
    """One scan. `learn` takes keys with their hints; `key_of` turns a name into a key, or None for a name to skip.

    Between two steps the scan pauses as long as the last step took, so that it takes at most half of the server's time.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: bytes,
        ledger: str,
        *,
        learn: Callable[[Mapping[str, str]], None],
        key_of: Callable[[bytes], str | None],
        report: Callable[[Progress], None],
        pause: Callable[[float], bool],
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._ledger = ledger
        self._learn = learn
        self._key_of = key_of
        self._report = report
        self._pause = pause

    def run(self) -> None:
        """Learn first the ledger's keys that are gone, then all keys that exist. Ends early if `pause` returns True.

        This order matters: a deadline whose key was deleted fires if it becomes due before it is disarmed.

        Raises TimerUnavailable and TimerRefused.
        """
        begun = reported = SYSTEM_CLOCK.monotonic()
        with translated():
            total = int(self._client.dbsize())
        self._scan_ledger()
        found = left_out = step = 0
        examples: tuple[bytes, ...] = ()
        for step, names in enumerate(self._steps(), start=1):
            learnt = self._learn_names(names, CHANGED)
            found += len(learnt)
            left_out += len(names) - len(learnt)
            examples = (*examples, *learnt)[:EXAMPLES] if len(examples) < EXAMPLES else examples
            now = SYSTEM_CLOCK.monotonic()
            if now - reported >= REPORT_EVERY:
                reported = now
                self._report(
                    Progress(min(step * STEP, total), total, found, left_out, examples, now - begun, done=False)
                )
        self._report(Progress(total, total, found, left_out, examples, SYSTEM_CLOCK.monotonic() - begun, done=True))

    def _scan_ledger(self) -> None:
        """Disarm the future deadlines whose keys are gone: the keys were deleted while no watcher listened.

        Do nothing on a server that has evicted keys: an evicted key does not mean that the order was paid.
        """
        with translated():
            if int(self._client.info("stats").get("evicted_keys", 0)):
                return
        for members in self._soonest_first():
            self._learn_names([self._prefix + member for member in members], UNWATCHED)

    def _soonest_first(self) -> Iterator[list[bytes]]:
        """Yield the keys of the ledger's future deadlines in parts, the earliest deadline first."""
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
            # More keys than the step took may be due in its last millisecond, so the next step begins there again. If
            # one millisecond fills a whole step, the next step is twice as large.
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

    def _learn_names(self, names: list[bytes], hint: str) -> list[bytes]:
        """Learn the keys with these names. Return the names that have a key."""
        found = {name: key for name in names if (key := self._key_of(name)) is not None}
        keys = list(found.values())
        for start in range(0, len(keys), STEP // 2):
            self._learn(dict.fromkeys(keys[start : start + STEP // 2], hint))
        return list(found)
