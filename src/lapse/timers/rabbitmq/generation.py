"""The generation of a timer's queues: it changes whenever the broker may have lost deadlines.

The generation is the only message of a separate queue. Missing queues are declared together with it.
"""

from queue import Empty, SimpleQueue
from uuid import uuid4

from lapse.timers.rabbitmq.channel import Channel, Delivery
from lapse.timers.rabbitmq.confirms import Publishing
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.errors import NotFound
from lapse.timers.rabbitmq.lock import locked
from lapse.timers.rabbitmq.queues import QUORUM, RESTORES, Names, exists, flush_queue_names

READ_WITHIN = 5.0
"""Seconds to wait for the queue's message. If a process died while reading it, the broker first requeues it."""


def read_or_create(connection: Connection, names: Names) -> str:
    """Return the generation. If a queue is missing, declare all queues and begin a new generation."""
    with locked(connection, names):  # for reading too, because only one process can hold the message
        stand = all(exists(connection, queue) for queue in (names.due, names.buried))
        if stand and (generation := _read(connection, names)):
            return generation
        with Channel(connection, confirming=True) as channel:
            channel.delete_queue(names.generation)
            for number in range(1, RESTORES + 1):
                channel.delete_exchange(names.restored(number))
            for queue in (names.generation, names.buried, names.due):
                channel.declare_queue(queue, QUORUM)
            flush_queue_names(channel, names)
            generation = uuid4().hex
            # The last step: where this message exists, all queues exist.
            channel.publish([Publishing("", names.generation, generation.encode())])
        return generation


def _read(connection: Connection, names: Names) -> str:
    """Take the queue's message, put it back, and return the generation in it; "" if there is no message."""
    received: SimpleQueue[Delivery] = SimpleQueue()
    try:
        with Channel(connection) as channel:
            consumer_tag = channel.consume(names.generation, 1, received.put)
            try:
                delivery = received.get(timeout=READ_WITHIN)
            finally:
                channel.cancel(consumer_tag)
            channel.answer(requeue=[delivery.tag])
            return delivery.body.decode()
    except (NotFound, Empty):
        return ""
