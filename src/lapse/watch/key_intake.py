"""Keeps a ledger true to the keys it follows: by the events of each change, and by looking at all after a gap."""

import threading
from collections.abc import Callable, Mapping

import redis

from lapse.engine.background import BackgroundThread
from lapse.engine.deadline import check_key
from lapse.engine.errors import InvalidDeadline, TimerError, TimerUnavailable
from lapse.timers.redis.client import database_number
from lapse.timers.redis.errors import Demoted
from lapse.timers.redis.listener import RECONNECT, RedisListener
from lapse.watch.key_changes import HINTS, KeyChanges
from lapse.watch.key_scan import KeyScan, Progress, glob

LEARN_AT_ONCE = 500
"""Keys in one script: it then takes about a millisecond."""

LOOK = 30.0
"""Seconds after which it is looked again whether the server still announces what it should."""

MOST_TOLD = 1000
"""Names that cannot be followed and that are told of; beyond that, somebody has been told."""


class KeyIntake:
    """Follows the keys that begin with `prefix`, in three threads: one listens, one learns, one looks at all.

    `learn` takes keys without the prefix, with their hints. `refit` makes sure that the server announces what it
    should. `tell_progress` hears how far a look at all is, `tell_unfit` of names that cannot be followed, `stumbled` of
    an error that nobody foresaw, after which it goes on; `failed` of one that no waiting mends.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: bytes,
        ledger: str,
        *,
        learn: Callable[[Mapping[str, str]], None],
        on_connect: Callable[[], None],
        refit: Callable[[], None],
        tell_progress: Callable[[Progress], None],
        tell_unfit: Callable[[str], None],
        stumbled: Callable[[Exception], None],
        failed: Callable[[TimerError], None],
    ) -> None:
        self._prefix = prefix
        self._learn = learn
        self._on_connect = on_connect
        self._refit = refit
        self._tell_unfit = tell_unfit
        self._stumbled = stumbled
        self._failed = failed
        self._changes = KeyChanges()
        self._told: set[bytes] = set()
        self._gap = threading.Event()
        self._doubted = threading.Event()
        self._learning = BackgroundThread(self._learn_changes, name="lapse-learn")
        self._looking = BackgroundThread(self._look, name="lapse-look")
        self._scan = KeyScan(
            client, prefix, ledger, learn=learn, keep=self._key, tell=tell_progress, pause=self._looking.pause
        )
        events = f"__keyspace@{database_number(client)}__:".encode()
        self._named = len(events)
        self.channel = events + glob(prefix)  # of which the events come, a pattern
        self._listener = RedisListener(lambda: client, self.channel, self._hear, self._connected, pattern=True)

    def ensure(self) -> None:
        """Begin, if not yet. Listening comes first, so that nothing falls between it and the look at all."""
        self._listener.ensure()
        for thread in (self._learning, self._looking):
            if thread.ensure():
                self.look_again()  # the keys that the ended thread had in hand are lost

    def close(self) -> None:
        """Stop."""
        for thread in (self._learning, self._looking):
            thread.close(0.0)
        self._gap.set()
        self._changes.close()
        self._listener.close()
        for thread in (self._learning, self._looking):
            thread.close()

    def look_again(self) -> None:
        """Look at all keys soon: something may have happened that nobody heard of."""
        self._gap.set()

    def reconnect(self) -> None:
        """Listen anew, and learn nothing of what was heard: a replica calls a key that expired deleted."""
        self._doubted.set()
        self._listener.reconnect()

    def _connected(self) -> None:
        if self._doubted.is_set():
            self._changes.forget()
            self._doubted.clear()
        self.look_again()
        self._on_connect()

    def _hear(self, channel: bytes, event: bytes) -> None:
        hint = HINTS.get(event)
        if hint and (key := self._key(channel[self._named :])) is not None:
            self._changes.note(key, hint)

    def _key(self, name: bytes) -> str | None:
        """What follows the prefix; None, and it is told of, where no timer could keep it."""
        try:
            return check_key(name[len(self._prefix) :].decode())
        except (UnicodeDecodeError, InvalidDeadline) as error:
            if name not in self._told and len(self._told) < MOST_TOLD:
                self._told.add(name)
                self._tell_unfit(f"the key {name[:80]!r} cannot be followed, so its order is not cancelled: {error}")
            return None

    def _learn_changes(self) -> None:
        failures = 0
        while not self._learning.closing:
            hints = self._changes.take(LEARN_AT_ONCE, 0.5)
            if not hints or self._doubted.is_set():
                continue
            try:
                self._learn(hints)
                failures = 0
            except TimerUnavailable as error:  # the claims beside this report it
                failures += 1
                if not isinstance(error, Demoted):
                    self._changes.put_back(hints)
                self._learning.pause(RECONNECT.delay(failures).total_seconds())
            except TimerError as error:
                self._failed(error)
                return
            except Exception as error:  # noqa: BLE001 - a thread that ends would leave new orders unfollowed
                failures += 1
                self._changes.put_back(hints)
                self._go_on_after(error, failures)

    def _look(self) -> None:
        failures = 0
        while not self._looking.closing:
            self._gap.wait(LOOK)
            if self._looking.closing:
                return
            try:
                self._refit()
                if self._gap.is_set():
                    self._gap.clear()
                    self._scan.run()
                failures = 0
            except TimerUnavailable:
                failures += 1
                self._gap.set()
                self._looking.pause(RECONNECT.delay(failures).total_seconds())
            except TimerError as error:
                self._failed(error)
                return
            except Exception as error:  # noqa: BLE001 - as above
                failures += 1
                self._go_on_after(error, failures)

    def _go_on_after(self, error: Exception, failures: int) -> None:
        """Look at all again after a while; of several failures in a row the first is told of."""
        if failures == 1:
            self._stumbled(error)
        self._gap.set()
        self._looking.pause(RECONNECT.delay(failures).total_seconds())
