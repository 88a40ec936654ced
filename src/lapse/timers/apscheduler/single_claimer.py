"""The seat of the one process that claims, on stores that know no sharing.

APScheduler runs a job twice where two schedulers open one store, and nothing tells them. Here a record in the store,
a paused job, names the process that claims. It is written by compare-and-set and renewed while claims go on. A second
process watches it: where the record changes, its writer lives, and the second one is refused; where it stays as it is
until its time is over, the writer is dead, and the seat is taken over. Arming, disarming and counting need no seat.

The record also names the memory that it is in, and says which tokens are given away.
"""

import os
import socket
import threading
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from uuid import uuid4
from weakref import WeakValueDictionary

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import EPOCH, MILLISECOND
from lapse.engine.errors import TimerError, TimerRefused
from lapse.timers.apscheduler.job import OURS, now, read, write
from lapse.timers.apscheduler.stores import Jobs, Move, Place

RECORD = OURS + "claimant"
"""The id of the job that is the record."""

SEAT = timedelta(seconds=10)
"""How long the seat is held from its last renewal, or for a lease where that is longer."""

RENEW_AFTER = 2.5
"""Seconds after which the seat is renewed: so soon does a second process learn that the first one lives."""

TOKENS = 1_000_000
"""Tokens that are set aside at each renewal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the record says. `until` is in milliseconds since 1970 by its writer's clock, and only for people to read.

    `span`, in milliseconds, is how long it must stay as it is until its writer counts as dead.
    """

    memory: str
    tokens: int
    """No token up to this one is handed out by whoever comes next."""
    owner: str = ""
    """The process that claims; empty for none."""
    who: str = ""
    until: int = 0
    span: int = 0
    renewal: int = 0

    def put(self, expected: bytes) -> Move:
        """Write it where `expected` is, or where nothing is."""
        source = Place.PENDING if expected else Place.NONE
        return Move(RECORD, source, expected, Place.PENDING, self.state(), None)

    def state(self) -> bytes:
        """Write it as a job that is paused."""
        return write(RECORD, None, args=(RECORD,), kwargs=asdict(self))


def look(jobs: Jobs) -> tuple[bytes, Record | None]:
    """Read the record, and how it is stored."""
    state = jobs.find(Place.PENDING, [RECORD]).get(RECORD, b"")
    return state, Record(**read(state)["kwargs"]) if state else None


def memory(jobs: Jobs) -> str:
    """Name the memory that the record is in, and write one where there is none."""
    while True:
        _, record = look(jobs)
        if record is not None:
            return record.memory
        jobs.move([_fresh().put(b"")])  # whoever was first: read what is there now


class Seat:
    """This process's side of it, shared by all its handles on one timer. Call its methods with `lock` held."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process = os.getpid()
        self._me = uuid4().hex
        self._sitting: set[Hashable] = set()
        self._mine: Record | None = None
        self._renew_at = 0.0
        self._seen = b""
        self._seen_since = 0.0
        self._token = 0

    def hold(self, jobs: Jobs, sitter: Hashable, lease: timedelta) -> bool:
        """Take the seat or keep it. False while it is open whether the process that has it lives.

        Raises TimerRefused where it does.
        """
        mine = self._mine
        if mine is not None and SYSTEM_CLOCK.monotonic() < self._renew_at and self._token < mine.tokens:
            self._sitting.add(sitter)
            return True
        while True:
            state, record = look(jobs)
            if not self._may_take(state, record):
                return False
            if self._take(jobs, state, record, max(lease, SEAT)):
                self._sitting.add(sitter)
                return True

    def keep(self, jobs: Jobs, lease: timedelta) -> None:
        """Renew the seat where it is held: a handler that works long lets no claims go on."""
        for sitter in list(self._sitting)[:1]:
            with suppress(TimerRefused):  # another process has it by now, which the next claim says
                self.hold(jobs, sitter, lease)

    def token(self) -> int:
        """Give the next token: each is given once, by whichever process, and higher than all before."""
        self._token += 1
        return self._token

    def leave(self, jobs: Jobs, sitter: Hashable) -> None:
        """Get up; the last one frees the seat for another process."""
        if sitter not in self._sitting:
            return
        self._sitting.remove(sitter)
        mine, self._mine = self._mine, None if not self._sitting else self._mine
        if mine is not None and not self._sitting:
            with suppress(TimerError):  # it runs out by itself
                jobs.move([replace(mine, owner="", who="").put(mine.state())])

    def _may_take(self, state: bytes, record: Record | None) -> bool:
        if record is None or record.owner in ("", self._me):
            return True
        before, since = self._seen, SYSTEM_CLOCK.monotonic()
        self._mine = None
        if state != before:
            self._seen, self._seen_since = state, since
            if before and Record(**read(before)["kwargs"]).owner == record.owner:
                raise TimerRefused(
                    f"{record.who} claims from this timer, and only one process may: APScheduler's job stores cannot "
                    "be shared. Stop one of the two, or choose a timer that can: redis://, postgresql://"
                )
        # By this process's own clock alone: another host's may be ahead of the writer's, who lives.
        return state == before and since - self._seen_since > record.span / 1000

    def _take(self, jobs: Jobs, state: bytes, record: Record | None, span: timedelta) -> bool:
        before = record or _fresh()
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
        if not jobs.move([mine.put(state)]):
            return False
        self._mine, self._seen = mine, b""
        self._renew_at = begun + RENEW_AFTER
        return True


_seats: "WeakValueDictionary[tuple[int, str], Seat]" = WeakValueDictionary()
_guard = threading.Lock()


def seat_at(address: str) -> Seat:
    """Give this process's seat at the stores of this address; a forked process has one of its own."""
    with _guard:
        found = _seats.get((os.getpid(), address))
        if found is None:
            found = _seats[os.getpid(), address] = Seat()
        return found


def _fresh() -> Record:
    """The first record of a new memory; its tokens come after those of a memory that was lost."""
    return Record(memory=uuid4().hex, tokens=(SYSTEM_CLOCK.now() - EPOCH) // timedelta(microseconds=1))
