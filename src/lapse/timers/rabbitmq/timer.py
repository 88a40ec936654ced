"""Delayed messages on RabbitMQ without a plugin: each message waits in one or more quorum queues in turn."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Self

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import EPOCH, Buried, Claim, Deadline, to_milliseconds
from lapse.engine.errors import TimerError
from lapse.engine.timer import LEASE, Finding, Stats, TimerNames, Traits
from lapse.timers.rabbitmq import buried
from lapse.timers.rabbitmq.address import Address
from lapse.timers.rabbitmq.check import findings
from lapse.timers.rabbitmq.claiming import Claiming, Wakeups
from lapse.timers.rabbitmq.consumer import Consumer
from lapse.timers.rabbitmq.known import is_known, timer_names
from lapse.timers.rabbitmq.leases import Held
from lapse.timers.rabbitmq.messages import Message, Received
from lapse.timers.rabbitmq.older import Moving, older_layouts
from lapse.timers.rabbitmq.publisher import Publisher, milliseconds_now
from lapse.timers.rabbitmq.queues import Names, counts
from lapse.timers.rabbitmq.reconnecting import Reconnecting
from lapse.timers.rabbitmq.restoring import Restoring

TRAITS = Traits(
    mechanism="rabbitmq",
    durable=True,
    shared=True,
    can_disarm=False,
    transactional=False,
    ordered=False,
    precision=timedelta(seconds=1),
    clock="host",
    exact_stats=False,
)


class RabbitTimer:
    """A timer in one virtual host of a RabbitMQ broker.

    RabbitMQ has no command that returns its time. So the arming process computes by its clock how long a message waits.
    The claiming process decides by its clock whether a message is due.
    """

    traits = TRAITS

    def __init__(self, address: Address, name: str) -> None:
        self.name = name
        self._address = address
        self._names = names = Names(name)
        self._wakeups = Wakeups()
        self._publisher = Reconnecting(lambda: Publisher(address, names))
        self._consumer = Reconnecting(lambda: Consumer(address, names, self._wakeups.wake_all))
        self._claiming = Claiming(names, self._wakeups, self._publisher.get)
        self._restoring = Restoring(names)
        self._moving = Moving(names, self._publisher.get)
        self._lock = threading.Lock()
        self._last_armed = 0

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many deadlines at once. Messages published earlier for the same keys still fire."""
        latest = {deadline.key: to_milliseconds(deadline.due_at) for deadline in deadlines}
        if not latest:
            return
        publisher, armed = self._publisher.get(), self._arming_number()
        messages = [Message(key, due, due, armed, armed) for key, due in latest.items()]
        if only_unknown:
            consumer = self._consumer.peek()
            claimed = consumer.leases.keys() if consumer else set()
            self._restoring.restore(publisher, [message for message in messages if message.key not in claimed])
        else:
            publisher.publish(messages)
            self._end_claims(latest)

    def disarm(self, keys: Iterable[str]) -> None:
        """End this timer object's claims on the keys. Waiting messages cannot be found by key, so they still fire."""
        self._end_claims(keys)

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Return claims on due deadlines, or wait for them."""
        if limit < 1:
            return []
        consumer = self._consumer.get()
        if self._moving.step(consumer):
            wait = timedelta(0)  # the next call moves more
        copies: dict[str, list[Received]] = defaultdict(list)
        for received in self._claiming.due(consumer, limit, wait.total_seconds()):
            copies[received.message.key].append(received)
        return consumer.leases.hold(copies, lease, SYSTEM_CLOCK.now()) if copies else []

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Restart the leases, and return the claims that are still held."""
        consumer = self._consumer.peek()
        return consumer.leases.renew(claims, lease) if consumer else []

    def settle(self, claims: Sequence[Claim]) -> int:
        """Acknowledge the claims' messages, and return how many claims were still held."""
        consumer = self._consumer.peek()
        if consumer is None:
            return 0
        held = consumer.leases.take(claims)
        consumer.acknowledge(_tags(held))
        return len(held)

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Release the claims, due again after the delay, and return how many were still held."""
        later = to_milliseconds(SYSTEM_CLOCK.now() + delay) if delay > timedelta(0) else 0
        with self._taken(claims) as held:
            self._publisher.get().publish(
                replace(
                    entry.message,
                    at=later or entry.message.due,
                    attempts=entry.claim.attempt - forgive,
                    token=entry.claim.token,
                )
                for entry in held
            )
        return len(held)

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Move the claims' messages to the queue of buried messages. Return how many claims were still held."""
        now = to_milliseconds(SYSTEM_CLOCK.now())
        reason = reason.encode(errors="replace").decode()
        with self._taken(claims) as held:
            self._publisher.get().bury(
                replace(entry.message, attempts=entry.claim.attempt, token=entry.claim.token, reason=reason, buried=now)
                for entry in held
            )
        return len(held)

    def buried(self, limit: int = 100) -> list[Buried]:
        """Return the buried deadlines, the longest buried first."""
        consumer = self._existing()
        return buried.list_buried(consumer, self._names, limit) if consumer else []

    def revive(self, keys: Iterable[str]) -> int:
        """Make buried deadlines due at once with attempts reset to 0, and return how many there were."""
        now = milliseconds_now()
        wanted = set(keys)
        consumer = self._existing() if wanted else None
        if consumer is None:
            return 0

        def publish(messages: list[Message]) -> None:
            revived = [
                replace(message, at=min(message.due, now), attempts=0, reason="", buried=0) for message in messages
            ]
            self._publisher.get().publish(revived)

        return buried.revive(consumer, self._names, wanted, publish)

    def stats(self) -> Stats:
        """Return the broker's counts of messages that no consumer holds, and this timer object's number of claims.

        Messages in queues of an older layout are counted too.
        """
        consumer = self._existing()
        if consumer is None:
            return Stats(0, 0, 0, 0, None, None, SYSTEM_CLOCK.now())
        connection = consumer.connection
        counted = [counts(connection, self._names), *older_layouts(connection, self._names)]
        return Stats(
            pending=sum(each.total - each.buried for each in counted),
            due=sum(each.due for each in counted),
            claimed=len(consumer.leases),
            buried=sum(each.buried for each in counted),
            oldest_due=None,
            next_due=None,
            now=SYSTEM_CLOCK.now(),
        )

    def names(self) -> TimerNames:
        """Return whether this timer has queues, and if not, which timers have, as the management API shows."""
        return timer_names(self._address, self._names)

    def generation(self) -> str:
        """Return the generation that the broker had when the connection was opened."""
        return self._consumer.get().generation

    def check(self) -> list[Finding]:
        """Return findings about the broker's version, its policies and alarms, and its clock."""
        return findings(self._publisher.get().connection, self._address, self._names)

    def wake(self) -> None:
        """Make a claim that waits return."""
        self._wakeups.interrupt()

    def close(self) -> None:
        """Close the connections. The broker gives this timer object's claims to other consumers at once."""
        self.wake()
        self._consumer.close()
        self._publisher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _existing(self) -> Consumer | None:
        """Return the consumer; None if the timer has no queues. To open a consumer would declare the queues."""
        consumer = self._consumer.peek()
        if consumer is None and not is_known(self._address, self._names):
            return None
        return consumer or self._consumer.get()

    def _arming_number(self) -> int:
        """Return the time in microseconds since 1970, or the last returned number plus 1 if that is larger."""
        with self._lock:
            now = (SYSTEM_CLOCK.now() - EPOCH) // timedelta(microseconds=1)
            self._last_armed = max(self._last_armed + 1, now)
            return self._last_armed

    def _end_claims(self, keys: Iterable[str]) -> None:
        consumer = self._consumer.peek()
        if consumer is not None:
            consumer.acknowledge(_tags(consumer.leases.take_keys(keys)))

    @contextmanager
    def _taken(self, claims: Sequence[Claim]) -> Iterator[list[Held]]:
        """Take the claims that are still held, for a block that publishes their messages elsewhere; then acknowledge.

        If the block raises, the deliveries are requeued.
        """
        consumer = self._consumer.peek()
        held = consumer.leases.take(claims) if consumer else []
        if not consumer or not held:
            yield []
            return
        try:
            yield held
        except BaseException:
            # If this fails too, the connection is lost, and the broker gives the messages to other consumers.
            with suppress(TimerError):
                consumer.channel.answer(requeue=_tags(held))
            raise
        consumer.acknowledge(_tags(held))


def open_from_url(url: str, *, name: str) -> RabbitTimer:
    """Return the timer at a URL such as amqp://user:password@localhost:5672/vhost."""
    return RabbitTimer(Address.parse(url), name)


def _tags(held: Iterable[Held]) -> list[int]:
    return [tag for entry in held for tag in entry.tags]
