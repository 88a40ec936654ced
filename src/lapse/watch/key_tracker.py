"""Keeps a ledger equal to the keys that it tracks: by events of changes, and by a scan after missed events."""

import threading
from collections.abc import Callable, Mapping

import redis

from lapse.engine.background import BackgroundThread
from lapse.engine.errors import TimerError, TimerUnavailable
from lapse.timers.redis.client import database_number
from lapse.timers.redis.errors import Demoted
from lapse.timers.redis.listener import RECONNECT, RedisListener
from lapse.watch.key_changes import HINTS, KeyChanges
from lapse.watch.key_scan import EXAMPLES, KeyScan, Progress, glob
from lapse.watch.order_ids import OrderIds

LEARN_AT_ONCE = 500
"""The largest number of keys in one script call, which then takes about a millisecond."""

CHECK_EVERY = 30.0
"""Seconds between two checks that the server still sends the needed events."""


class KeyTracker:
    """Tracks the keys that have an id, in three threads: one listens, one learns, one scans.

    * `ids` reads the id in a key's name.
    * `learn` takes ids with their hints.
    * `require_events` makes sure that the server sends events when keys change; it raises if the server does not.
    * `on_connect` is called when the listener has connected, `on_progress` while a scan goes on.
    * `on_check` is called in the thread that scans, after each check of the events.
    * `on_error` is called with an unforeseen error, after which the work goes on.
    * `on_refused` is called with a permanent error; then the thread in which it occurred ends.
    """

    def __init__(
        self,
        client: redis.Redis,
        ids: OrderIds,
        ledger: str,
        *,
        learn: Callable[[Mapping[str, str]], None],
        require_events: Callable[[], None],
        on_connect: Callable[[], None],
        on_progress: Callable[[Progress], None],
        on_check: Callable[[], None],
        on_error: Callable[[Exception], None],
        on_refused: Callable[[TimerError], None],
    ) -> None:
        self._ids = ids
        self._learn = learn
        self._require_events = require_events
        self._on_connect = on_connect
        self._on_check = on_check
        self._on_error = on_error
        self._on_refused = on_refused
        self._changes = KeyChanges()
        self._gap = threading.Event()
        """Set if a change may have been missed, so that all keys must be scanned."""
        self._doubted = threading.Event()
        """Set while the events of the last connection may be wrong, until the next connection."""
        self._learning = BackgroundThread(self._learn_changes, name="lapse-learn")
        self._scanning = BackgroundThread(self._scan_after_gaps, name="lapse-scan")
        self._scan = KeyScan(
            client, ids.prefix, ledger, learn=learn, key_of=ids.of, report=on_progress, pause=self._scanning.pause
        )
        events = f"__keyspace@{database_number(client)}__:".encode()
        self._prefix_of_channels = len(events)
        self.channel = events + glob(ids.prefix)  # a pattern, because each key's events have a separate channel
        self._listener = RedisListener(lambda: client, self.channel, self._on_event, self._connected, pattern=True)

    def ensure(self) -> None:
        """Start the threads that do not run. The listener starts first, so that no change is missed before the scan."""
        self._listener.ensure()
        for thread in (self._learning, self._scanning):
            if thread.ensure():
                self.scan_again()  # the keys that the ended thread was working on are lost

    def pause(self, seconds: float) -> bool:
        """Wait in the thread that scans. Return True if the thread must end."""
        return self._scanning.pause(seconds)

    def close(self) -> None:
        """End the threads."""
        for thread in (self._learning, self._scanning):
            thread.close(0.0)
        self._gap.set()
        self._changes.close()
        self._listener.close()
        for thread in (self._learning, self._scanning):
            thread.close()

    def scan_again(self) -> None:
        """Scan all keys soon: a change may have been missed."""
        self._gap.set()

    def reconnect(self) -> None:
        """Listen by a new connection, and ignore the old one's events: a replica reports an expired key as deleted."""
        self._doubted.set()
        self._listener.reconnect()

    def _connected(self) -> None:
        if self._doubted.is_set():
            self._changes.forget()
            self._doubted.clear()
        self.scan_again()
        self._on_connect()

    def _on_event(self, channel: bytes, event: bytes) -> None:
        hint = HINTS.get(event)
        name = channel[self._prefix_of_channels :]
        if hint and (key := self._ids.of(name)) is not None:
            if len(self._ids.seen) < EXAMPLES:
                self._ids.see([name])
            self._changes.note(key, hint)

    def _learn_changes(self) -> None:
        failures = 0
        while not self._learning.closing:
            hints = self._changes.take(LEARN_AT_ONCE, 0.5)
            if not hints or self._doubted.is_set():
                continue
            try:
                self._learn(hints)
                failures = 0
            except TimerUnavailable as error:  # the worker's claims report an unavailable server
                failures += 1
                if not isinstance(error, Demoted):
                    self._changes.put_back(hints)
                self._learning.pause(RECONNECT.delay(failures).total_seconds())
            except TimerError as error:
                self._on_refused(error)
                return
            except Exception as error:  # noqa: BLE001 - if this thread ended, new orders would not be tracked
                failures += 1
                self._changes.put_back(hints)
                self._go_on_after(error, failures, self._learning)

    def _scan_after_gaps(self) -> None:
        failures = 0
        while not self._scanning.closing:
            self._gap.wait(CHECK_EVERY)
            if self._scanning.closing:
                return
            try:
                self._require_events()
                if self._gap.is_set():
                    self._gap.clear()
                    self._scan.run()
                self._on_check()
                failures = 0
            except TimerUnavailable:
                failures += 1
                self._gap.set()
                self._scanning.pause(RECONNECT.delay(failures).total_seconds())
            except TimerError as error:
                self._on_refused(error)
                return
            except Exception as error:  # noqa: BLE001 - as above
                failures += 1
                self._go_on_after(error, failures, self._scanning)

    def _go_on_after(self, error: Exception, failures: int, thread: BackgroundThread) -> None:
        """Pause, and scan all keys again. Report only the first of several failures in a row."""
        if failures == 1:
            self._on_error(error)
        self._gap.set()
        thread.pause(RECONNECT.delay(failures).total_seconds())
