"""Lets only one process claim at a time: several processes cannot share APScheduler's job stores.

If two schedulers open one store, APScheduler runs a job twice, and neither scheduler notices. Here the timer's record
names the process that claims. The process writes the record by compare-and-set, and renews it while it claims. A second
process watches the record. If the record changes, its owner lives, and the second process is refused. If the record
stays unchanged until its time is over, its owner is dead, and the second process takes over. Arming, disarming and
counting need no ownership.
"""

import os
import socket
import threading
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4
from weakref import WeakValueDictionary

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import MILLISECOND
from lapse.engine.errors import TimerError, TimerRefused
from lapse.timers.apscheduler.generation import Record, new_record, read_record, record_in
from lapse.timers.apscheduler.job import now
from lapse.timers.apscheduler.stores import JobStores

OWNED_FOR = timedelta(seconds=10)
"""How long ownership lasts after its last renewal, unless a lease is longer."""

RENEW_AFTER = 2.5
"""Seconds between two renewals. A second process needs this long to learn that the owner lives."""

TOKENS = 1_000_000
"""How many tokens each renewal reserves."""


class SingleClaimer:
    """This process's ownership of one timer, shared by all its timer objects. Call the methods with `lock` held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._me = uuid4().hex
        self._holders: set[Hashable] = set()
        self._mine: Record | None = None
        self._renew_at = 0.0
        self._seen = b""
        self._seen_since = 0.0
        self._token = 0

    def acquire(self, stores: JobStores, holder: Hashable, lease: timedelta) -> bool:
        """Acquire or renew ownership for `holder`. Return False while it is unknown whether another owner lives.

        Raises TimerRefused if another owner lives.
        """
        mine = self._mine
        if mine is not None and SYSTEM_CLOCK.monotonic() < self._renew_at and self._token < mine.tokens:
            self._holders.add(holder)
            return True
        while True:
            state, record = read_record(stores)
            if not self._may_take(state, record):
                return False
            if self._take(stores, state, record, max(lease, OWNED_FOR)):
                self._holders.add(holder)
                return True

    def renew(self, stores: JobStores, lease: timedelta) -> None:
        """Renew ownership if this process has it: during a long handler call, no claim renews it."""
        for holder in list(self._holders)[:1]:
            with suppress(TimerRefused):  # another process has taken over, which the next claim reports
                self.acquire(stores, holder, lease)

    def next_token(self) -> int:
        """Return the next token, which is unique among all processes and higher than all earlier tokens."""
        self._token += 1
        return self._token

    def release(self, stores: JobStores, holder: Hashable) -> None:
        """Release ownership; the last holder clears the record."""
        if holder not in self._holders:
            return
        self._holders.remove(holder)
        if self._holders or self._mine is None:
            return
        mine, self._mine = self._mine, None
        with suppress(TimerError):  # ownership ends by itself
            stores.transfer([replace(mine, owner="", who="").put(mine.state())])

    def _may_take(self, state: bytes, record: Record | None) -> bool:
        if record is None or record.owner in ("", self._me):
            return True
        before, since = self._seen, SYSTEM_CLOCK.monotonic()
        self._mine = None
        if state != before:
            self._seen, self._seen_since = state, since
            if before and record_in(before).owner == record.owner:
                raise TimerRefused(
                    f"{record.who} claims from this timer, and only one process may: APScheduler's job stores cannot "
                    "be shared. Stop one of the two, or choose a timer that can: redis://, postgresql://"
                )
        # Use only this process's clock: compared with another host's clock, a living owner could seem dead.
        return state == before and since - self._seen_since > record.span / 1000

    def _take(self, stores: JobStores, state: bytes, record: Record | None, span: timedelta) -> bool:
        before = record or new_record()
        if before.owner != self._me:
            self._token = max(self._token, before.tokens)
        mine = replace(
            before,
            tokens=self._token + TOKENS,
            owner=self._me,
            who=f"process {os.getpid()} on {socket.gethostname()}",
            until=now() + span // MILLISECOND,
            span=span // MILLISECOND,
            renewal=before.renewal + 1,
        )
        begun = SYSTEM_CLOCK.monotonic()
        if not stores.transfer([mine.put(state)]):
            return False
        self._mine, self._seen = mine, b""
        self._renew_at = begun + RENEW_AFTER
        return True


_claimers: "WeakValueDictionary[tuple[int, str], SingleClaimer]" = WeakValueDictionary()
_guard = threading.Lock()


def claimer_of(address: str) -> SingleClaimer:
    """Return this process's claimer for the stores at this address. A forked process has another one."""
    with _guard:
        found = _claimers.get((os.getpid(), address))
        if found is None:
            found = _claimers[os.getpid(), address] = SingleClaimer()
        return found
