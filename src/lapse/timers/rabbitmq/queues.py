"""The queues of one timer: their names, how messages are routed through them, how they are declared and counted.

A message that must wait goes into the queue of the highest bit of its delay, counted in ticks of 125 ms. Every message
in the queue of one level waits equally long. So the first message in is the first message out, and no message blocks
another. When its time in a level is over, the broker dead-letters the message to the level of the next bit that is
set. The routing key spells the bits, lowest first. After the last level the message reaches the queue of due messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from lapse.timers.rabbitmq.channel import Channel
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.errors import NotFound

TICK = 125
"""The waiting time of the lowest level, in milliseconds. A delay is rounded up to whole ticks."""

LEVELS = 26
"""The highest level waits 48.5 days, near the longest time to live of a broker (2³² ms). All together wait 97 days."""

RESTORES = 3
"""How many processes may restore deadlines in one generation. Each may duplicate deadlines that were not lost."""

FLUSH_QUEUE_EXPIRES = 60_000
"""Milliseconds after which the broker deletes a flush queue if the process that declared it died."""

LAYOUT = 2
"""The number of these names and arguments. A queue's arguments cannot change, so other arguments need another number.

Layout 1 had no number in its names. Its queues of due and of buried messages dropped messages under a `max-length`.
"""

QUORUM: dict[str, Any] = {
    "x-queue-type": "quorum",
    # The worker decides how many deliveries without an acknowledgement are too many. Some brokers drop a message at 20.
    "x-delivery-limit": 2**31 - 1,
    # A policy may limit any queue. By default, a full queue accepts a message and drops the one at its head.
    "x-overflow": "reject-publish",
    # More than fits on a disk. A full queue lets its publishers continue once it is well below its limit. Without any
    # limit it never does: if a policy is deleted while a queue is full, messages stay in the level before it for ever.
    "x-max-length": 2**31 - 1,
}
"""The arguments of every durable queue."""

CLASSIC: dict[str, Any] = {"x-queue-type": "classic"}
"""The arguments of an exclusive queue. A virtual host's default may be quorum queues, which cannot be exclusive."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the timer's queues and exchanges in one layout. Two timers have no name in common."""

    timer: str
    layout: int = LAYOUT

    @property
    def due(self) -> str:
        """The queue of due messages."""
        return self._name("due")

    @property
    def buried(self) -> str:
        """The queue of buried messages."""
        return self._name("buried")

    @property
    def generation(self) -> str:
        """The queue whose only message is the generation."""
        return self._name("memory")

    @property
    def lock(self) -> str:
        """The exclusive queue that serves as a lock."""
        return self._name("lock")

    def level(self, number: int) -> str:
        """Return the name of the queue in which messages wait for 2**number ticks, and of the exchange before it."""
        return self._name(f"level-{number}")

    def flush(self, suffix: str) -> str:
        """Return the name of a short-lived queue, see `flush_queue_names`."""
        return self._name(f"seal-{suffix}")

    def restored(self, number: int) -> str:
        """Return the name of the exchange that marks the restoring with this number, see RESTORES."""
        return self._name(f"restored-{number}")

    @property
    def nowhere(self) -> str:
        """The name of an exchange that never exists, see `declare_level`."""
        return self._name("nowhere")

    @property
    def queues(self) -> list[str]:
        """All durable queues that this layout may have. A level exists once a message had to wait as long."""
        return [self.generation, self.due, self.buried, *map(self.level, range(LEVELS))]

    def _name(self, part: str) -> str:
        return f"lapse.{self.timer}.{part}" + (f".v{self.layout}" if self.layout > 1 else "")

    def level_arguments(self, number: int) -> dict[str, Any]:
        """Return the arguments of a level's queue. A message leaves it only once the next queue has stored it."""
        next_hop = (
            {"x-dead-letter-exchange": self.level(number - 1)}
            if number
            else {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.due}
        )
        return QUORUM | next_hop | {"x-message-ttl": TICK << number, "x-dead-letter-strategy": "at-least-once"}


def levels_for(delay: int) -> int:
    """Return how many levels a delay in milliseconds needs: 0 for a delay that is over."""
    return ticks(delay).bit_length()


def ticks(delay: int) -> int:
    """Return the delay in ticks, rounded up, but not more than all levels together can wait.

    A message with a longer delay arrives too early and waits again.
    """
    return min(-(-max(delay, 0) // TICK), (1 << LEVELS) - 1)


def routing_key(count: int) -> str:
    """Return the routing key for `count` ticks: the bits, lowest first."""
    return ".".join(reversed(f"{count:b}"))


def binding_pattern(level: int, bit: int) -> str:
    """Return the pattern of the routing keys that have this bit at this level."""
    return "*." * level + f"{bit}.#"


def declare_level(channel: Channel, names: Names, number: int) -> None:
    """Create the queue and the exchange of a level. The level below must exist.

    The exchange has an alternate exchange that does not exist. Otherwise a policy could name one, which would accept a
    message for a level whose queue is missing.
    """
    level = names.level(number)
    channel.declare_queue(level, names.level_arguments(number))
    channel.declare_exchange(level, {"alternate-exchange": names.nowhere})
    channel.bind_queue(level, level, binding_pattern(number, 1))
    if number:
        channel.bind_exchange(names.level(number - 1), level, binding_pattern(number, 0))
    else:
        channel.bind_queue(names.due, level, binding_pattern(number, 0))


def flush_queue_names(channel: Channel, names: Names) -> None:
    """Make sure that a broker still knows the queues that were just declared, even if it is killed the next moment.

    A quorum queue's messages are on disk before they are confirmed. Before May 2024, the name under which the broker
    finds these messages was not (https://github.com/rabbitmq/ra/pull/443). The name stayed in an in-memory table of
    Erlang for up to three seconds. A broker killed in that time came back with the queue, but had lost all its
    confirmed messages. Seen on RabbitMQ 3.10.8.

    Declaring one more quorum queue helps: the broker looks up its name in that table first, and looking up a missing
    name writes the table to disk. So this function declares such a queue and deletes it, before the other queues are
    used.

    A connection that finds a queue cannot know whether the process that declared it also called this function, or
    whether a crash has undone it. So each connection calls it, once for all queues that it is about to publish to.
    """
    queue = names.flush(uuid4().hex)  # a new name each time: a queue that exists already would write nothing
    channel.declare_queue(queue, QUORUM | {"x-expires": FLUSH_QUEUE_EXPIRES})
    channel.delete_queue(queue)


def exists(connection: Connection, queue: str) -> bool:
    """Return whether the queue exists."""
    with Channel(connection) as channel:
        try:
            channel.count(queue)
        except NotFound:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Counts:
    """Each queue's number of messages that no consumer holds, in one layout: due, buried, then the levels."""

    names: Names
    by_queue: Mapping[str, int]

    @property
    def due(self) -> int:
        """The number of due messages."""
        return self.by_queue[self.names.due]

    @property
    def buried(self) -> int:
        """The number of buried messages."""
        return self.by_queue[self.names.buried]

    @property
    def total(self) -> int:
        """The number of all messages: due, buried and waiting."""
        return sum(self.by_queue.values())


def counts(connection: Connection, names: Names) -> Counts:
    """Return the counts, by one short call per queue, 28 at most. Levels exist from the lowest up to the first gap.

    Raises NotFound if the broker does not have this layout.
    """
    with Channel(connection) as channel:
        found = {queue: channel.count(queue) for queue in (names.due, names.buried)}
        try:
            for number in range(LEVELS):
                found[names.level(number)] = channel.count(names.level(number))
        except NotFound:
            pass  # the broker has closed the channel
        return Counts(names, found)
