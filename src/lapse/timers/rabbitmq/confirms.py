"""The messages of one channel that the broker has neither stored nor refused yet."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import takewhile

from lapse.timers.rabbitmq.connection import fail, resolve
from lapse.timers.rabbitmq.errors import PublishFailed, QueueFull


@dataclass(frozen=True, slots=True)
class Publishing:
    """A message to send, and its exchange and routing key."""

    exchange: str
    routing_key: str
    body: bytes


@dataclass(slots=True)
class _Batch:
    """Messages sent together, from number `first` on: how many are unanswered, and the numbers of the refused ones."""

    future: Future[None]
    publishings: Sequence[Publishing]
    first: int
    unanswered: int
    unroutable: str = ""
    refused: set[int] = field(default_factory=set)

    def failure(self, where: str) -> PublishFailed | None:
        """Return the error of a batch whose messages are all answered, or None if all were stored."""
        if self.unroutable:
            return PublishFailed(f"RabbitMQ at {where} did not keep a message: {self.unroutable}")
        if self.refused:
            refused = self.publishings[min(self.refused) - self.first]
            queue = refused.exchange or refused.routing_key  # a level's exchange has its name
            return QueueFull(
                f"RabbitMQ at {where} refused {len(self.refused)} of {len(self.publishings)} messages: the queue "
                f"{queue!r} is full by a policy's max-length or max-length-bytes, or cannot store now; no accepted "
                "message is lost: let workers empty the queue, or raise the policy's limit",
                [each.body for number, each in enumerate(self.publishings, self.first) if number not in self.refused],
            )
        return None


class Confirms:
    """The broker numbers the messages of a channel from 1. Only the connection's own thread may use this object."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._sent = 0
        self._unanswered: dict[int, _Batch] = {}

    def sending(self, publishings: Sequence[Publishing], future: Future[None]) -> Iterator[tuple[Publishing, int]]:
        """Yield each message with its number, to be sent. The future is done when the broker has answered for all."""
        batch = _Batch(future, publishings, self._sent + 1, len(publishings))
        for publishing in publishings:
            self._sent += 1
            self._unanswered[self._sent] = batch
            yield publishing, self._sent

    def unroutable(self, number: int, text: str) -> None:
        """Record that no queue accepted a message. The broker confirms the message later."""
        batch = self._unanswered.get(number)
        if batch is not None:
            batch.unroutable = text

    def confirmed(self, last: int, *, multiple: bool, stored: bool) -> None:
        """Record the broker's answer for message `last`, or with `multiple` for all messages up to it."""
        numbers = list(takewhile(lambda number: number <= last, self._unanswered)) if multiple else [last]
        for number in numbers:
            batch = self._unanswered.pop(number, None)
            if batch is None:
                continue
            if not stored:
                batch.refused.add(number)
            batch.unanswered -= 1
            if batch.unanswered:
                continue
            if failure := batch.failure(self._where):
                fail(batch.future, failure)
            else:
                resolve(batch.future, None)

    def abandoned(self) -> list[Future[None]]:
        """Return the futures of the messages that a closed channel will not answer for, and forget them."""
        batches, self._unanswered = self._unanswered, {}
        return [batch.future for batch in batches.values()]
