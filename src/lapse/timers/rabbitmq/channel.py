"""One channel of a connection: declares, publishes with confirms, consumes and acknowledges."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import pika
from pika.exceptions import ChannelWrongStateError

from lapse.engine.errors import TimerRefused
from lapse.timers.rabbitmq.confirms import Confirms, Publishing
from lapse.timers.rabbitmq.connection import Connection, fail, resolve
from lapse.timers.rabbitmq.errors import AccessRefused, QueueFull

MOST_UNCONFIRMED = 1000
"""Messages to send before waiting for confirms. This limits the memory that both sides need."""

CONFIGURE, WRITE, READ = "configure", "write", "read"
"""The three permissions that an account has in a virtual host, each a pattern of names."""

READ_OR_WRITE = "read or write"
"""The permission for a call that reads from one object and writes to another."""

CONFIRM_WITHIN = 20.0
"""Seconds in which the broker must confirm a batch: it writes every message to disk first."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that the broker delivered. `redeliveries` counts earlier deliveries without an acknowledgement."""

    tag: int
    body: bytes
    redeliveries: int
    headers: Mapping[str, Any]


class Channel:
    """A channel, opened at once. The broker closes it when it refuses a call.

    `confirming` is needed to publish. With `essential`, the connection is dropped when the broker closes the channel.
    """

    def __init__(self, connection: Connection, *, confirming: bool = False, essential: bool = False) -> None:
        self.connection = connection
        self._calls: set[Future[Any]] = set()
        self._essential = essential
        self._confirms = Confirms(connection.where)
        self._channel: Any = None
        connection.request(self._open)
        if confirming:
            self._call(lambda channel, done: channel.confirm_delivery(self._on_confirm, callback=done), WRITE)

    def declare_queue(self, name: str, arguments: Mapping[str, Any], *, exclusive: bool = False) -> None:
        """Create the queue, unless it exists. An exclusive queue ends with its connection."""
        self._call(
            lambda channel, done: channel.queue_declare(
                name, durable=not exclusive, exclusive=exclusive, arguments=dict(arguments), callback=done
            ),
            # Dead letters are read from the queue, and written to their exchange.
            READ_OR_WRITE if "x-dead-letter-exchange" in arguments else CONFIGURE,
        )

    def count(self, queue: str) -> int:
        """Return how many messages of the queue wait for a consumer. Raises NotFound if there is no such queue."""
        frame = self._call(lambda channel, done: channel.queue_declare(queue, passive=True, callback=done), READ)
        return int(frame.method.message_count)

    def delete_queue(self, name: str) -> None:
        """Delete the queue, if it exists."""
        self._call(lambda channel, done: channel.queue_delete(name, callback=done), CONFIGURE)

    def declare_exchange(self, name: str, arguments: Mapping[str, Any] | None = None, *, passive: bool = False) -> None:
        """Create the exchange, unless it exists. With `passive`, raise NotFound instead of creating it."""
        self._call(
            lambda channel, done: channel.exchange_declare(
                name, "topic", passive=passive, durable=True, arguments=dict(arguments or {}), callback=done
            ),
            CONFIGURE,
        )

    def delete_exchange(self, name: str) -> None:
        """Delete the exchange, if it exists."""
        self._call(lambda channel, done: channel.exchange_delete(name, callback=done), CONFIGURE)

    def bind_queue(self, queue: str, exchange: str, pattern: str) -> None:
        """Route messages whose key matches the pattern from the exchange to the queue."""
        self._call(lambda channel, done: channel.queue_bind(queue, exchange, pattern, callback=done), READ_OR_WRITE)

    def bind_exchange(self, target: str, source: str, pattern: str) -> None:
        """Route messages whose key matches the pattern from exchange `source` to exchange `target`."""
        self._call(lambda channel, done: channel.exchange_bind(target, source, pattern, callback=done), READ_OR_WRITE)

    def consume(self, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]) -> str:
        """Start to consume, and return the consumer tag. The connection's thread calls `on_delivery`.

        At most `prefetch` deliveries are unacknowledged at a time.
        """

        def on_message(_channel: object, method: Any, properties: Any, body: bytes) -> None:  # noqa: ANN401 - a callback of pika
            headers = properties.headers or {}
            on_delivery(Delivery(method.delivery_tag, body, int(headers.get("x-delivery-count", 0)), headers))

        def start(channel: Any, done: Callable[[Any], None]) -> None:  # noqa: ANN401 - pika has no types
            # The prefetch applies to consumers that start after it, so both are sent in one step.
            channel.basic_qos(prefetch_count=prefetch)
            channel.basic_consume(queue, on_message, callback=done)

        return str(self._call(start, READ).method.consumer_tag)

    def cancel(self, consumer_tag: str) -> None:
        """Cancel the consumer. Deliveries received before this returns have been processed."""

        def start(channel: Any, done: Callable[[Any], None]) -> None:  # noqa: ANN401 - pika has no types
            channel.basic_cancel(consumer_tag, callback=done)
            # Otherwise pika rejects deliveries that are still under way, and the broker counts each as a delivery.
            channel._cancelled.discard(consumer_tag)  # noqa: SLF001 - pika has no setting for that

        self._call(start, READ)

    def answer(self, *, ack: Iterable[int] = (), requeue: Iterable[int] = ()) -> None:
        """Acknowledge the deliveries with the tags in `ack`, and requeue those with the tags in `requeue`.

        The broker does not reply. The reply to any later call on this channel shows that it has processed the answer.
        """

        def start(future: Future[None]) -> None:
            self.answer_now(ack=ack, requeue=requeue)
            resolve(future, None)

        self.connection.request(start)

    def answer_now(self, *, ack: Iterable[int] = (), requeue: Iterable[int] = ()) -> None:
        """Do the same as `answer`. Only the connection's own thread may call this."""
        for tag in ack:
            self._channel.basic_ack(tag)
        for tag in requeue:
            # A reject, because from RabbitMQ 4.3 on a nack is not counted as a delivery.
            self._channel.basic_reject(tag, requeue=True)

    def publish(self, publishings: Sequence[Publishing]) -> None:
        """Send persistent messages, and return when the broker has confirmed all of them.

        Raises PublishFailed if the broker had no queue for a message, and QueueFull if a queue did not take a message.
        Other messages may be stored.
        """
        for start in range(0, len(publishings), MOST_UNCONFIRMED):
            part = publishings[start : start + MOST_UNCONFIRMED]
            try:
                with self._naming(WRITE):
                    self.connection.request(lambda future, part=part: self._send(part, future), CONFIRM_WITHIN)  # type: ignore[misc] # bound now
            except QueueFull as full:
                full.stored.update(publishing.body for publishing in publishings[:start])
                raise

    def close(self) -> None:
        """Close the channel, if it is still open."""
        if not self.connection.lost:
            self.connection.request(self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, future: Future[None]) -> None:
        def on_open(channel: Any) -> None:  # noqa: ANN401 - a callback of pika
            self._channel = channel
            channel.add_on_return_callback(self._on_return)
            resolve(future, None)

        def on_close(_channel: object, error: BaseException) -> None:
            calls, self._calls = self._calls, set()
            for waiting in (future, *calls, *self._confirms.abandoned()):
                fail(waiting, error)
            if self._essential:
                self.connection.drop(str(error))

        channel = self.connection.pika.channel(on_open_callback=on_open)
        channel.add_on_close_callback(on_close)

    def _close(self, future: Future[None]) -> None:
        if self._channel.is_open:
            self._channel.add_on_close_callback(lambda *_: resolve(future, None))
            self._channel.close()
        else:
            resolve(future, None)

    def _call(self, start: Callable[[Any, Callable[[Any], None]], Any], right: str) -> Any:  # noqa: ANN401 - frames of pika
        """Call `start` with pika's channel and a callback, and return the frame that the callback receives.

        `right` is the permission that the call needs.
        """

        def run(future: Future[Any]) -> None:
            self._calls.add(future)
            future.add_done_callback(self._calls.discard)
            start(self._channel, lambda frame: resolve(future, frame))

        with self._naming(right):
            return self.connection.request(run)

    @contextmanager
    def _naming(self, right: str) -> Iterator[None]:
        """Name the missing permission, which the broker's own message leaves out."""
        try:
            yield
        except AccessRefused as error:
            raise TimerRefused(f"{error} ({right} is missing)") from error

    def _send(self, publishings: Sequence[Publishing], future: Future[None]) -> None:
        if not self._channel.is_open:
            raise ChannelWrongStateError("the channel is closed")
        for publishing, number in self._confirms.sending(publishings, future):
            properties = pika.BasicProperties(
                delivery_mode=pika.DeliveryMode.Persistent,
                content_type="application/json",
                message_id=str(number),
            )
            exchange, routing_key = publishing.exchange, publishing.routing_key
            self._channel.basic_publish(exchange, routing_key, publishing.body, properties, mandatory=True)

    def _on_return(self, _channel: object, method: Any, properties: Any, _body: bytes) -> None:  # noqa: ANN401 - a callback of pika
        text = f"{method.reply_text} for {method.routing_key!r} at {method.exchange or 'the default'!r}"
        self._confirms.unroutable(int(properties.message_id), text)

    def _on_confirm(self, frame: Any) -> None:  # noqa: ANN401 - a callback of pika
        stored = not isinstance(frame.method, pika.spec.Basic.Nack)
        self._confirms.confirmed(frame.method.delivery_tag, multiple=frame.method.multiple, stored=stored)
