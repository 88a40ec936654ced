"""Lists and revives buried deadlines. RabbitMQ cannot search a queue, so this takes out all messages and requeues."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Buried, from_milliseconds
from lapse.timers.rabbitmq.consumer import Consumer
from lapse.timers.rabbitmq.lock import locked
from lapse.timers.rabbitmq.messages import Message, Received
from lapse.timers.rabbitmq.queues import Names

MOST = 50_000
"""The number of messages to search, the longest buried first. AMQP allows 65,535 unacknowledged deliveries."""

BACK_WITHIN = 10.0
"""Seconds within which the broker must requeue all messages."""

BACK_AGAIN = 0.005
"""Seconds between two checks whether all messages are requeued."""


def list_buried(consumer: Consumer, names: Names, limit: int) -> list[Buried]:
    """Return up to `limit` buried deadlines, the longest buried first."""
    with _taken_out(consumer, names) as (received, put_back):
        put_back.extend(copy.tag for copy in received)
        messages = sorted((copy.message for copy in received), key=lambda message: message.buried)[:limit]
        return [_buried(message) for message in messages]


def revive(consumer: Consumer, names: Names, keys: Collection[str], publish: Callable[[list[Message]], None]) -> int:
    """Publish the messages with these keys, remove them from the queue, and return how many keys were found."""
    wanted = set(keys)
    with _taken_out(consumer, names) as (received, put_back):
        found = [copy for copy in received if copy.message.key in wanted]
        put_back.extend(copy.tag for copy in received if copy.message.key not in wanted)
        publish([copy.message for copy in found])
        consumer.channel.answer(ack=[copy.tag for copy in found])
        return len({copy.message.key for copy in found})


def _buried(message: Message) -> Buried:
    due_at, buried_at = from_milliseconds(message.due), from_milliseconds(message.buried)
    return Buried(message.key, due_at, message.attempts, message.reason, buried_at)


@contextmanager
def _taken_out(consumer: Consumer, names: Names) -> Iterator[tuple[list[Received], list[int]]]:
    """Take all messages out for a block. Afterwards requeue those whose tags the block adds to the second list.

    If the process dies meanwhile, the broker requeues its messages. The lock prevents two processes from searching at
    once, because each would see only a part of the messages.
    """
    put_back: list[int] = []
    with locked(consumer.connection, names), consumer.subscribe(names.buried, MOST) as subscription:
        subscription.gather()
        subscription.end()
        yield subscription.received, put_back
        consumer.channel.answer(requeue=put_back)
        end = SYSTEM_CLOCK.monotonic() + BACK_WITHIN
        # The broker requeues gradually, and the next search must see all messages.
        while consumer.channel.count(names.buried) < len(put_back) and SYSTEM_CLOCK.monotonic() < end:
            SYSTEM_CLOCK.sleep(BACK_AGAIN)
