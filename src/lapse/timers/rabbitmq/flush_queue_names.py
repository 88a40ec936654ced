"""Makes sure that a broker which is killed the next moment still knows the queues that it has just made.

A quorum queue's messages are on disk before they are confirmed. The name under which the broker finds them again was
not, before May 2024 (https://github.com/rabbitmq/ra/pull/443): it stayed in memory for up to three seconds, in a table
of Erlang's, and a broker that was killed in them came back with the queue and without all that it had confirmed for
it. Seen on RabbitMQ 3.10.8. The next quorum queue that is made looks its own name up in that table first, and a look
at what is not in memory writes down what is.
"""

from uuid import uuid4

from lapse.timers.rabbitmq.channel import Line
from lapse.timers.rabbitmq.queues import QUORUM, Names

FORGOTTEN_AFTER = 60_000
"""Milliseconds after which the broker deletes the queue by itself, where its maker died in between."""


def seal(line: Line, names: Names) -> None:
    """Make one more queue, so that those made before outlive a crash, and delete it. To be done before they are used.

    Whoever finds a queue cannot know whether its maker came so far, or whether a crash has undone it: so each
    connection does this itself, once for all queues that it is about to publish to.
    """
    last = names.seal(uuid4().hex)  # a queue that is there already would write nothing
    line.declare_queue(last, QUORUM | {"x-expires": FORGOTTEN_AFTER})
    line.delete_queue(last)
