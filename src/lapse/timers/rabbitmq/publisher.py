"""The connection over which a timer publishes. It is another than the one that consumes.

A broker that is short of memory or disk takes nothing more from a connection that publishes, whatever it is: what is
claimed over the other one can still be settled.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import EPOCH, MILLISECOND
from lapse.engine.errors import TimerError
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.channel import Line, Post
from lapse.timers.rabbitmq.connection import Link
from lapse.timers.rabbitmq.flush_queue_names import seal
from lapse.timers.rabbitmq.generation import remembered
from lapse.timers.rabbitmq.messages import Note
from lapse.timers.rabbitmq.queues import Names, levels_for, pattern, spelled, ticks


class Outbox:
    """Puts notes where they are to wait, each confirmed by the broker before a call returns."""

    def __init__(self, address: Address, names: Names) -> None:
        self._names = names
        self.link = Link(address)
        try:
            self.memory = remembered(self.link, names)
            self._line = Line(self.link, confirming=True, vital=True)
        except BaseException:
            self.link.close()
            raise
        self._lock = threading.Lock()
        self._levels = 0

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.link.lost

    def post(self, notes: Iterable[Note]) -> None:
        """Let each note come to the queue of what is due when its time has come, by this process's clock."""
        with self._whole():
            posts: list[Post] = []
            now = milliseconds_now()
            ordered = sorted(notes, key=lambda note: note.at)
            self._make_levels(levels_for(ordered[-1].at - now) if ordered else 0)
            for note in ordered:
                delay = note.at - now
                if delay <= 0:
                    posts.append(Post("", self._names.due, note.encode()))
                else:  # to the highest level that it needs
                    level = self._names.level(levels_for(delay) - 1)
                    posts.append(Post(level, spelled(ticks(delay)), note.encode()))
            self._line.publish(posts)

    def bury(self, notes: Iterable[Note]) -> None:
        """Put the notes to those that were given up on."""
        with self._whole():
            self._line.publish([Post("", self._names.buried, note.encode()) for note in notes])

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Give the connection up where something fails: at the next call, what is missing is made anew."""
        try:
            yield
        except TimerError:
            self.link.drop("what was sent over it failed")
            raise

    def _make_levels(self, wanted: int) -> None:
        """See to it that there are so many levels, and that they outlive a crash with what will be in them."""
        with self._lock:
            if self._levels < wanted:
                for number in range(self._levels, wanted):
                    self._make(number)
                seal(self._line, self._names)
                self._levels = wanted

    def _make(self, number: int) -> None:
        level, names, line = self._names.level(number), self._names, self._line
        line.declare_queue(level, names.waiting(number))
        line.declare_exchange(level)
        line.bind_queue(level, level, pattern(number, 1))
        if number:
            line.bind_exchange(names.level(number - 1), level, pattern(number, 0))
        else:
            line.bind_queue(names.due, level, pattern(number, 0))


def milliseconds_now() -> int:
    """The time by this process's clock, in milliseconds since 1970, rounded down."""
    return (SYSTEM_CLOCK.now() - EPOCH) // MILLISECOND
