"""Moves messages from the queues of an older layout into those of the current one.

The older queues stay. A process that still runs an older Lapse may use them at any time. RabbitMQ cannot delete a
quorum queue on the condition that it is empty. So a process that claims looks at them again and again. A message is
acknowledged after its copy is confirmed, so a crash between the two leaves two copies, and none is lost.
"""

import logging
from collections.abc import Callable, Iterator

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerError
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.consumer import MOST_AT_ONCE, Consumer
from lapse.timers.rabbitmq.errors import NotFound, QueueFull
from lapse.timers.rabbitmq.publisher import Publisher
from lapse.timers.rabbitmq.queues import LAYOUT, Counts, Names, counts

log = logging.getLogger("lapse")

LOOK_AGAIN = 10.0
"""Seconds between two looks at empty queues of an older layout. So late may a deadline be that was armed in it."""


def older_layouts(connection: Connection, names: Names) -> Iterator[Counts]:
    """Yield the counts of each older layout that the broker has, the oldest first."""
    for layout in range(1, LAYOUT):
        try:
            found = counts(connection, Names(names.timer, layout))
        except NotFound:
            continue
        yield found


class Moving:
    """Moves one timer's messages. `publisher` returns the publisher that sends them to the current queues."""

    def __init__(self, names: Names, publisher: Callable[[], Publisher]) -> None:
        self._names = names
        self._publisher = publisher
        self._not_before = float("-inf")

    def step(self, consumer: Consumer) -> int:
        """Move about MOST_AT_ONCE messages, the due ones first, and return how many were moved.

        Returns 0 if another thread moves messages, or if all older queues were empty a short time ago. If the current
        queues are full, the messages that they refuse stay in the older queue and are moved later.
        """
        now = SYSTEM_CLOCK.monotonic()
        if now < self._not_before:
            return 0
        self._not_before = now + LOOK_AGAIN
        moved = 0
        for older in older_layouts(consumer.connection, self._names):
            for queue, count in older.by_queue.items():
                if count and moved < MOST_AT_ONCE:
                    moved += self._move(consumer, older.names, queue)
        if moved:
            self._not_before = now
        return moved

    def _move(self, consumer: Consumer, older: Names, queue: str) -> int:
        with consumer.subscribe(queue, MOST_AT_ONCE) as subscription:
            subscription.gather()
            subscription.end()
            stored = received = subscription.received
            # The broker counts each delivery to a process that moves messages. It reached no handler, so it is no
            # attempt. Earlier deliveries, to workers of the older Lapse that died, are in the same number.
            messages = [copy.message for copy in received]
            try:
                publisher = self._publisher()
                (publisher.bury if queue == older.buried else publisher.publish)(messages)
            except TimerError as error:
                log.warning("%s: its messages stay there for now: %s", queue, error)
                bodies = error.stored if isinstance(error, QueueFull) else set()
                stored = [copy for copy in received if copy.message.encode() in bodies]
                consumer.channel.answer(requeue={copy.tag for copy in received} - {copy.tag for copy in stored})
            consumer.acknowledge([copy.tag for copy in stored])
        if stored:
            log.info("moved %s messages from %s, a queue of an older layout", len(stored), queue)
        return len(received) if len(stored) == len(received) else 0
