"""One channel of a connection: declares, publishes with confirms, consumes, answers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import takewhile
from types import TracebackType
from typing import Any, Self

import pika
from pika.exceptions import ChannelWrongStateError

from lapse.timers.rabbitmq.connection import Link, answered, failed
from lapse.timers.rabbitmq.errors import Undelivered

WINDOW = 1000
"""Messages that may be under way without a confirm. It bounds what broker and client keep in memory for them."""

CONFIRM_WITHIN = 20.0
"""Seconds that a broker has to confirm a window: it writes every message to disk first."""


@dataclass(frozen=True, slots=True)
class Post:
    """A message and where it goes."""

    exchange: str
    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery. `times` is how often the broker has handed it out before without an answer."""

    tag: int
    body: bytes
    times: int
    headers: Mapping[str, Any]


@dataclass(slots=True)
class _Window:
    """Messages sent together: how many are not confirmed yet, and what became of one that was not kept."""

    future: Future[None]
    left: int
    failure: str = ""


class Line:
    """A channel, opened at once. The broker closes it at the first thing that it refuses.

    With `confirming`, it can publish. One that is `vital` takes the connection with it, where the broker closes it.
    """

    def __init__(self, link: Link, *, confirming: bool = False, vital: bool = False) -> None:
        self.link = link
        self._asked: set[Future[Any]] = set()
        self._vital = vital
        self._sent = 0
        self._unconfirmed: dict[int, _Window] = {}
        self._channel: Any = None
        link.ask(self._open)
        if confirming:
            self._ask(lambda channel, done: channel.confirm_delivery(self._on_confirm, callback=done))

    def declare_queue(self, name: str, arguments: Mapping[str, Any], *, exclusive: bool = False) -> None:
        """Make the queue, unless it is there. One that is exclusive ends with the connection."""
        self._ask(
            lambda channel, done: channel.queue_declare(
                name, durable=not exclusive, exclusive=exclusive, arguments=dict(arguments), callback=done
            )
        )

    def count(self, queue: str) -> int:
        """How many messages of the queue are with nobody. Raises Absent where there is no such queue."""
        frame = self._ask(lambda channel, done: channel.queue_declare(queue, passive=True, callback=done))
        return int(frame.method.message_count)

    def delete_queue(self, name: str) -> None:
        """Delete the queue, if it is there."""
        self._ask(lambda channel, done: channel.queue_delete(name, callback=done))

    def declare_exchange(self, name: str, *, passive: bool = False) -> None:
        """Make the exchange, unless it is there. With `passive`, raise Absent instead."""
        self._ask(
            lambda channel, done: channel.exchange_declare(name, "topic", passive=passive, durable=True, callback=done)
        )

    def delete_exchange(self, name: str) -> None:
        """Delete the exchange, if it is there."""
        self._ask(lambda channel, done: channel.exchange_delete(name, callback=done))

    def bind_queue(self, queue: str, exchange: str, pattern: str) -> None:
        """Let the queue have what comes to the exchange with a key of this pattern."""
        self._ask(lambda channel, done: channel.queue_bind(queue, exchange, pattern, callback=done))

    def bind_exchange(self, onward: str, exchange: str, pattern: str) -> None:
        """Let the exchange `onward` have what comes to `exchange` with a key of this pattern."""
        self._ask(lambda channel, done: channel.exchange_bind(onward, exchange, pattern, callback=done))

    def consume(self, queue: str, window: int, hear: Callable[[Arrived], None]) -> str:
        """Let `hear` have, in the link's thread, what comes; at most `window` without an answer. Returns the tag."""

        def on_message(_channel: object, method: Any, properties: Any, body: bytes) -> None:  # noqa: ANN401 - as called
            headers = properties.headers or {}
            hear(Arrived(method.delivery_tag, body, int(headers.get("x-delivery-count", 0)), headers))

        def begin(channel: Any, done: Callable[[Any], None]) -> None:  # noqa: ANN401 - pika has no types
            channel.basic_qos(prefetch_count=window)  # for the consumers that follow, so nothing may come in between
            channel.basic_consume(queue, on_message, callback=done)

        return str(self._ask(begin).method.consumer_tag)

    def cancel(self, tag: str) -> None:
        """Let no more come. What came until this returns has been heard."""

        def begin(channel: Any, done: Callable[[Any], None]) -> None:  # noqa: ANN401 - pika has no types
            channel.basic_cancel(tag, callback=done)
            # Else the library gives back what is under way, and the broker counts that as handed out.
            channel._cancelled.discard(tag)  # noqa: SLF001 - it has no setting for it

        self._ask(begin)

    def answer(self, settled: Iterable[int] = (), returned: Iterable[int] = ()) -> None:
        """Tell the broker that these deliveries are done with, or are for others. In the link's thread it is told now.

        The broker does not reply to this; whatever is asked on this line after it shows that it was heard.
        """

        def begin(future: Future[None]) -> None:
            self.answer_now(settled, returned)
            answered(future, None)

        self.link.ask(begin)

    def answer_now(self, settled: Iterable[int] = (), returned: Iterable[int] = ()) -> None:
        """Do so in the link's own thread."""
        for tag in settled:
            self._channel.basic_ack(tag)
        for tag in returned:
            self._channel.basic_reject(tag, requeue=True)  # from RabbitMQ 4.3 on a nack is not counted as handed out

    def publish(self, posts: Sequence[Post]) -> None:
        """Send them, kept on disk, and return when the broker has confirmed every one.

        Raises Undelivered where it did not keep one, or had no queue for it; others of them may have arrived.
        """
        for start in range(0, len(posts), WINDOW):
            part = posts[start : start + WINDOW]
            self.link.ask(lambda future, part=part: self._send(part, future), CONFIRM_WITHIN)  # type: ignore[misc] # bound now

    def close(self) -> None:
        """Close the channel, if it is still open."""
        if not self.link.lost:
            self.link.ask(self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, future: Future[None]) -> None:
        def opened(channel: Any) -> None:  # noqa: ANN401 - as the library calls it
            self._channel = channel
            channel.add_on_return_callback(self._on_return)
            answered(future, None)

        def closed(_channel: object, error: BaseException) -> None:
            asked, self._asked = self._asked, set()
            windows, self._unconfirmed = self._unconfirmed, {}
            for waiting in (future, *asked, *(window.future for window in windows.values())):
                failed(waiting, error)
            if self._vital:
                self.link.drop(str(error))

        channel = self.link.connection.channel(on_open_callback=opened)
        channel.add_on_close_callback(closed)

    def _close(self, future: Future[None]) -> None:
        if self._channel.is_open:
            self._channel.add_on_close_callback(lambda *_: answered(future, None))
            self._channel.close()
        else:
            answered(future, None)

    def _ask(self, begin: Callable[[Any, Callable[[Any], None]], Any]) -> Any:  # noqa: ANN401 - the library's frames
        def run(future: Future[Any]) -> None:
            self._asked.add(future)
            future.add_done_callback(self._asked.discard)
            begin(self._channel, lambda frame: answered(future, frame))

        return self.link.ask(run)

    def _send(self, posts: Sequence[Post], future: Future[None]) -> None:
        if not self._channel.is_open:
            raise ChannelWrongStateError("the channel is closed")
        window = _Window(future, len(posts))
        for post in posts:
            self._sent += 1
            self._unconfirmed[self._sent] = window
            properties = pika.BasicProperties(
                delivery_mode=pika.DeliveryMode.Persistent,
                content_type="application/json",
                message_id=str(self._sent),
            )
            self._channel.basic_publish(post.exchange, post.key, post.body, properties, mandatory=True)

    def _on_return(self, _channel: object, method: Any, properties: Any, _body: bytes) -> None:  # noqa: ANN401 - as called
        """Hear of a message for which there is no queue. The confirm follows."""
        window = self._unconfirmed.get(int(properties.message_id))
        if window is not None:
            window.failure = f"{method.reply_text} for {method.routing_key!r} at {method.exchange or 'the default'!r}"

    def _on_confirm(self, frame: Any) -> None:  # noqa: ANN401 - as the library calls it
        last, several = frame.method.delivery_tag, frame.method.multiple
        tags = list(takewhile(lambda tag: tag <= last, self._unconfirmed)) if several else [last]
        for tag in tags:
            window = self._unconfirmed.pop(tag, None)
            if window is None:
                continue
            if isinstance(frame.method, pika.spec.Basic.Nack):
                window.failure = "it was not stored"
            window.left -= 1
            if window.left:
                continue
            if window.failure:
                failed(window.future, Undelivered(f"RabbitMQ at {self.link.where} did not keep it: {window.failure}"))
            else:
                answered(window.future, None)
