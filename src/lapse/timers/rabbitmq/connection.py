"""One connection to a broker, and the thread that serves it, so that heartbeats go on between calls.

Any thread may call. The connection's thread does the work, and the caller waits for the answer. If no answer comes in
time, the connection is dropped. Then the broker gives its unacknowledged messages to other consumers.
"""

import logging
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import pika
from pika.exceptions import AMQPError

from lapse.engine.errors import TimerRefused, TimerUnavailable
from lapse.timers.rabbitmq.address import ANSWER_WITHIN, Address
from lapse.timers.rabbitmq.errors import translated

T = TypeVar("T")

THREAD = "lapse-rabbitmq"

OLDEST = (3, 10)
"""The first version with dead-lettering that loses no message between two quorum queues."""

CLOSE_WITHIN = 2.0
"""Seconds in which the broker must confirm that the connection is closed."""


class Connection:
    """An open connection. Once `lost`, it cannot be used again; its thread calls `on_lost` at that moment."""

    def __init__(self, address: Address, on_lost: Callable[[], None] = lambda: None) -> None:
        self.where = address.where
        self.mutex = threading.Lock()
        """A lock for work that only one thread at a time may do on this connection."""
        self.blocked = ""
        """The broker's reason to accept no messages, such as low memory or disk; "" while it accepts messages."""
        self._address = address
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._reason: BaseException | None = None
        self._pika: Any = None
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name=THREAD, daemon=True)
        self._thread.start()
        try:
            self._opened.result(4 * ANSWER_WITHIN)
        except Exception as error:
            self.drop("it did not answer")
            raise translated(error, self.where) from error
        if unfit := _unfit(self.pika.server_properties):
            self.drop(unfit)
            raise TimerRefused(f"{self.where} is {unfit}: Lapse needs RabbitMQ 3.10 or later")

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self._reason is not None

    @property
    def pika(self) -> Any:  # noqa: ANN401 - pika has no types
        """The connection object of pika. Only the connection's own thread may use it."""
        return self._pika

    def request(self, start: Callable[[Future[T]], None], within: float = ANSWER_WITHIN) -> T:
        """Call `start` with a future in the connection's thread, wait for the future, and return its result.

        Raises the future's exception, translated. Raises TimerUnavailable if there is no result in `within` seconds.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                start(future)
            except Exception as error:  # noqa: BLE001 - raised in the thread that called
                fail(future, error)

        with self._lock:
            if self._reason is not None:
                raise TimerUnavailable(f"the connection to RabbitMQ at {self.where} is lost: {self._reason}")
            self._waiting.add(future)
            self._pika.ioloop.add_callback_threadsafe(run)
        try:
            return future.result(within)
        except TimeoutError as error:
            self.drop("it did not answer in time")
            raise TimerUnavailable(f"RabbitMQ at {self.where} gave no answer in {within:g} s") from error
        except (AMQPError, OSError) as error:
            raise translated(error, self.where) from error
        finally:
            with self._lock:
                self._waiting.discard(future)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` in the connection's thread after the given seconds, unless the connection is lost before."""
        loop = self._pika.ioloop
        with self._lock:
            if self._reason is None:
                loop.add_callback_threadsafe(lambda: loop.call_later(max(seconds, 0.0), call))

    def drop(self, reason: str) -> None:
        """Cut the connection at once, without the closing handshake. Any thread may call this."""
        self._end(OSError(reason))
        if self._pika is not None:
            self._pika.ioloop.add_callback_threadsafe(lambda: self._cut(reason))

    def close(self) -> None:
        """Close the connection, or cut it if the broker takes too long. Returns when the thread has ended."""
        with self._lock:
            if self._reason is None:
                self._pika.ioloop.add_callback_threadsafe(self._begin_close)
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_WITHIN)
            self.drop("closed")
            self._thread.join(CLOSE_WITHIN)

    def _begin_close(self) -> None:
        if self._pika.is_open:
            self._pika.close()

    def _cut(self, reason: str) -> None:
        if not self._pika.is_closed:
            # pika's close() would wait for an answer, which this broker may never send.
            self._pika._terminate_stream(OSError(reason))  # noqa: SLF001 - see above

    def _serve(self) -> None:
        try:
            self._pika = pika.SelectConnection(
                self._address.parameters,
                on_open_callback=self._on_open,
                on_open_error_callback=self._on_end,
                on_close_callback=self._on_end,
            )
        except Exception as error:  # noqa: BLE001 - raised in the thread that opens the connection
            self._end(error)
            return
        try:
            self._pika.ioloop.start()
        except Exception as error:  # noqa: BLE001 - whichever error ends this thread, waiting callers must receive it
            self._end(error)
            self._cut("its thread failed")
        finally:
            self._pika.ioloop.close()

    def _on_open(self, connection: Any) -> None:  # noqa: ANN401 - a callback of pika
        connection.add_on_connection_blocked_callback(self._on_blocked)
        self._opened.set_result(None)

    def _on_blocked(self, _connection: object, frame: Any) -> None:  # noqa: ANN401 - a callback of pika
        """Drop the connection: the broker reads nothing from it and confirms nothing until an alarm is over."""
        self.blocked = str(frame.method.reason)
        self.drop(f"it accepts no messages while it is short of memory or disk: {self.blocked}")

    def _on_end(self, connection: Any, error: BaseException) -> None:  # noqa: ANN401 - a callback of pika
        self._end(error)
        connection.ioloop.stop()

    def _end(self, error: BaseException) -> None:
        with self._lock:
            if self._reason is not None:
                return
            self._reason = error
            waiting, self._waiting = self._waiting, set()
        fail(self._opened, error)
        for future in waiting:
            fail(future, translated(error, self.where))
        self._on_lost()


def _unfit(properties: Mapping[str, object]) -> str:
    """Return the broker's product and version if Lapse cannot use it, or "".

    Other brokers and older versions ignore some arguments of queues, and then lose messages without an error.
    """
    product, version = str(properties.get("product", "")), str(properties.get("version", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    fit = numbers is None or tuple(map(int, numbers.groups())) >= OLDEST
    return "" if fit and "rabbit" in product.lower() else f"{product or 'an unknown broker'} {version}".rstrip()


def _silence_pika() -> None:
    """Keep pika from logging what happens on Lapse's connections: each caller already receives an exception.

    pika would also warn whenever Lapse asks whether a queue exists. Connections of other code still log.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "pika":
            logging.getLogger(name).addFilter(lambda record: record.threadName != THREAD)


_silence_pika()


def fail(future: Future[Any], error: BaseException) -> None:
    """Set the future's exception, unless the future is done."""
    if not future.done():
        future.set_exception(error)


def resolve(future: Future[T], result: T) -> None:
    """Set the future's result, unless the future is done."""
    if not future.done():
        future.set_result(result)
