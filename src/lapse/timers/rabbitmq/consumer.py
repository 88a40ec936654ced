"""The connection over which a timer claims: consumes while a claim is under way, and answers what was claimed."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerError
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.channel import Arrived, Line
from lapse.timers.rabbitmq.connection import Link
from lapse.timers.rabbitmq.generation import remembered
from lapse.timers.rabbitmq.leases import Leases
from lapse.timers.rabbitmq.messages import Copy, decode
from lapse.timers.rabbitmq.queues import Names

log = logging.getLogger("lapse")

MOST_AT_ONCE = 2000
"""The most that one claim takes. It bounds what the broker sends without an answer."""

GATHER_WITHIN = 2.0
"""Seconds in which what the queue has is taken along, before a claim makes do with what came."""

QUIET = 2
"""Looks at an empty queue that end a gathering: what is under way at the first has come at the second."""


class Intake:
    """What comes of one queue while a consumer is open: at most `window` without an answer."""

    def __init__(self, line: Line, queue: str, window: int, on_arrival: Callable[[], None]) -> None:
        self.copies: list[Copy] = []
        """What came, and is not answered yet. The link's thread adds to it."""
        self._line = line
        self._queue = queue
        self._window = window
        self._on_arrival = on_arrival
        self._tag = line.consume(queue, window, self._hear)

    def gather(self) -> None:
        """Wait until all that the queue has is here, or as much as the window takes."""
        quiet = 0
        end = SYSTEM_CLOCK.monotonic() + GATHER_WITHIN
        while len(self.copies) < self._window and quiet < QUIET and SYSTEM_CLOCK.monotonic() < end:
            quiet = 0 if self._line.count(self._queue) else quiet + 1

    def split(self, now: int) -> tuple[list[Copy], list[Copy]]:
        """Give what is due by `now`, in milliseconds, and what is here before its time."""
        copies = list(self.copies)
        return [one for one in copies if one.note.at <= now], [one for one in copies if one.note.at > now]

    def remove(self, some: Iterable[Copy]) -> None:
        """Leave these out: they were answered."""
        for one in some:
            self.copies.remove(one)

    def end(self) -> None:
        """Let no more come. What was under way is here then."""
        self._line.cancel(self._tag)

    def _hear(self, arrived: Arrived) -> None:
        try:
            note = decode(arrived.body)
        except ValueError as error:
            log.error("%s: dropped a message that is none of a timer's: %s: %r", self._queue, error, arrived.body[:200])  # noqa: TRY400 - its trace says nothing
            self._line.answer_now(settled=[arrived.tag])
        else:
            self.copies.append(Copy(arrived.tag, note, arrived.times))
            self._on_arrival()


class Inbox:
    """The claims of one connection, and the intake of new ones."""

    def __init__(self, address: Address, names: Names, on_lost: Callable[[], None]) -> None:
        self._names = names
        self._link = Link(address, on_lost)
        try:
            self.memory = remembered(self._link, names)
            self.line = Line(self._link, vital=True)
        except BaseException:
            self._link.close()
            raise
        self.leases = Leases(self._link.later, lambda tags: self.line.answer_now(returned=tags))
        self._lock = threading.Lock()

    @property
    def link(self) -> Link:
        """The connection."""
        return self._link

    @property
    def lost(self) -> bool:
        """Whether the connection is gone, and with it all that was claimed."""
        return self._link.lost

    @contextmanager
    def intake(self, queue: str, window: int, on_arrival: Callable[[], None] = lambda: None) -> Iterator[Intake]:
        """Consume for the length of a block. If it raises, the connection is given up, and with it what came."""
        try:
            with self._lock:
                intake = Intake(self.line, queue, window, on_arrival)
            yield intake
        except BaseException:
            self._link.drop("what was done over it failed")
            raise

    def settle(self, tags: list[int]) -> None:
        """Answer that these are done with, and be sure that the broker heard it."""
        if not tags:
            return
        try:
            self.line.answer(settled=tags)
            self.line.count(self._names.due)
        except TimerError:
            self._link.drop("what was done over it failed")
            raise
