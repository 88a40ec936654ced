"""The connection over which a timer publishes, separate from the connection that consumes.

A broker that is short of memory or disk stops reading from connections that publish. On the other connection, claims
can still be settled.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import EPOCH, MILLISECOND
from lapse.engine.errors import TimerError
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.channel import Channel
from lapse.timers.rabbitmq.confirms import Publishing
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.errors import QueueFull
from lapse.timers.rabbitmq.generation import read_or_create
from lapse.timers.rabbitmq.messages import Message
from lapse.timers.rabbitmq.queues import Names, declare_level, flush_queue_names, levels_for, routing_key, ticks


class Publisher:
    """Publishes messages to the waiting queues. A call returns after the broker has confirmed every message."""

    def __init__(self, address: Address, names: Names) -> None:
        self._names = names
        self.connection = Connection(address)
        try:
            self.generation = read_or_create(self.connection, names)
            self._channel = Channel(self.connection, confirming=True, essential=True)
        except BaseException:
            self.connection.close()
            raise
        self._lock = threading.Lock()
        self._levels = 0

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.connection.lost

    def publish(self, messages: Iterable[Message]) -> None:
        """Publish messages. Each reaches the queue of due messages at its time, by this process's clock."""
        with self._dropped_on_error():
            publishings: list[Publishing] = []
            now = milliseconds_now()
            ordered = sorted(messages, key=lambda message: message.at)
            self._declare_levels(levels_for(ordered[-1].at - now) if ordered else 0)
            for message in ordered:
                delay = message.at - now
                if delay <= 0:
                    publishings.append(Publishing("", self._names.due, message.encode()))
                else:  # to the highest level that the delay needs
                    level = self._names.level(levels_for(delay) - 1)
                    publishings.append(Publishing(level, routing_key(ticks(delay)), message.encode()))
            self._channel.publish(publishings)

    def bury(self, messages: Iterable[Message]) -> None:
        """Publish messages to the queue of buried messages."""
        with self._dropped_on_error():
            self._channel.publish([Publishing("", self._names.buried, message.encode()) for message in messages])

    @contextmanager
    def _dropped_on_error(self) -> Iterator[None]:
        """Drop the connection if the block fails. The next call opens another and declares missing queues.

        A full queue is no reason to do so: another connection would be refused as well.
        """
        try:
            yield
        except QueueFull:
            raise
        except TimerError:
            self.connection.drop("a call over it failed")
            raise

    def _declare_levels(self, wanted: int) -> None:
        """Declare levels until there are `wanted`, so that the queues and their messages survive a crash."""
        with self._lock:
            if self._levels < wanted:
                for number in range(self._levels, wanted):
                    declare_level(self._channel, self._names, number)
                flush_queue_names(self._channel, self._names)
                self._levels = wanted


def milliseconds_now() -> int:
    """Return the time by this process's clock, in milliseconds since 1970, rounded down."""
    return (SYSTEM_CLOCK.now() - EPOCH) // MILLISECOND
