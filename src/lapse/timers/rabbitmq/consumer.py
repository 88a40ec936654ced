"""The connection over which a timer claims: it consumes during a claim, and acknowledges the claimed deliveries."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerError
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.channel import Channel, Delivery
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.generation import read_or_create
from lapse.timers.rabbitmq.leases import Leases
from lapse.timers.rabbitmq.messages import Received, decode
from lapse.timers.rabbitmq.queues import Names

log = logging.getLogger("lapse")

MOST_AT_ONCE = 2000
"""The largest number of messages that one claim takes. It limits a connection's unacknowledged deliveries."""

GATHER_WITHIN = 2.0
"""Seconds for which a claim collects the queue's messages. Then it goes on with the messages that have arrived."""

EMPTY_LOOKS = 2
"""How often in a row the queue must be empty to end the collecting. Deliveries that are under way at the first look
have arrived at the second."""


class Subscription:
    """The deliveries of one queue while it is consumed: at most `prefetch` unacknowledged ones at a time."""

    def __init__(self, channel: Channel, queue: str, prefetch: int, on_arrival: Callable[[], None]) -> None:
        self.received: list[Received] = []
        """Deliveries that are neither acknowledged nor requeued yet. The connection's thread adds to them."""
        self._channel = channel
        self._queue = queue
        self._prefetch = prefetch
        self._on_arrival = on_arrival
        self._consumer_tag = channel.consume(queue, prefetch, self._on_delivery)

    def gather(self) -> None:
        """Wait until all messages of the queue have arrived, or as many as `prefetch` allows."""
        empty_looks = 0
        end = SYSTEM_CLOCK.monotonic() + GATHER_WITHIN
        while len(self.received) < self._prefetch and empty_looks < EMPTY_LOOKS and SYSTEM_CLOCK.monotonic() < end:
            empty_looks = 0 if self._channel.count(self._queue) else empty_looks + 1

    def split(self, now: int) -> tuple[list[Received], list[Received]]:
        """Return the messages that are due at `now`, in milliseconds, and the messages that came too early."""
        received = list(self.received)
        due = [copy for copy in received if copy.message.at <= now]
        return due, [copy for copy in received if copy.message.at > now]

    def remove(self, answered: Iterable[Received]) -> None:
        """Remove deliveries that were acknowledged or requeued."""
        for copy in answered:
            self.received.remove(copy)

    def end(self) -> None:
        """Stop consuming. Deliveries that were under way have arrived when this returns."""
        self._channel.cancel(self._consumer_tag)

    def _on_delivery(self, delivery: Delivery) -> None:
        try:
            message = decode(delivery.body)
        except ValueError as error:
            log.error("%s: dropped a message that Lapse did not write: %s: %r", self._queue, error, delivery.body[:200])  # noqa: TRY400 - the traceback adds nothing
            self._channel.answer_now(ack=[delivery.tag])
        else:
            self.received.append(Received(delivery.tag, message, delivery.redeliveries))
            self._on_arrival()


class Consumer:
    """A connection, its claims, and the subscriptions over which new claims arrive."""

    def __init__(self, address: Address, names: Names, on_lost: Callable[[], None]) -> None:
        self._names = names
        self._connection = Connection(address, on_lost)
        try:
            self.generation = read_or_create(self._connection, names)
            self.channel = Channel(self._connection, essential=True)
        except BaseException:
            self._connection.close()
            raise
        self.leases = Leases(self._connection.call_later, lambda tags: self.channel.answer_now(requeue=tags))
        self._lock = threading.Lock()

    @property
    def connection(self) -> Connection:
        """The connection."""
        return self._connection

    @property
    def lost(self) -> bool:
        """Whether the connection is gone, together with all its claims."""
        return self._connection.lost

    @contextmanager
    def subscribe(
        self, queue: str, prefetch: int, on_arrival: Callable[[], None] = lambda: None
    ) -> Iterator[Subscription]:
        """Consume the queue for a block. If the block raises, drop the connection and all its deliveries."""
        try:
            with self._lock:
                subscription = Subscription(self.channel, queue, prefetch, on_arrival)
            yield subscription
        except BaseException:
            self._connection.drop("a call over it failed")
            raise

    def acknowledge(self, tags: list[int]) -> None:
        """Acknowledge deliveries, and return once the broker has processed that."""
        if not tags:
            return
        try:
            self.channel.answer(ack=tags)
            self.channel.count(self._names.due)  # its reply shows that the broker has read the acknowledgements
        except TimerError:
            self._connection.drop("a call over it failed")
            raise
