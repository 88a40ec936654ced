"""One connection to a broker, and the thread that serves it: heartbeats go on while nobody calls.

Any thread calls; what it wants is done by the link's own thread, and the caller waits for the answer. Where none comes
in time the connection is dropped, so that the broker gives what was unanswered on it to others.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import pika
from pika.exceptions import AMQPError

from lapse.engine.errors import TimerUnavailable
from lapse.timers.rabbitmq.address import ANSWER_WITHIN, Address
from lapse.timers.rabbitmq.errors import translated

T = TypeVar("T")

THREAD = "lapse-rabbitmq"

CLOSE_WITHIN = 2.0
"""Seconds that a broker has to say good-bye."""


class Link:
    """An open connection. Once `lost` it is of no more use; `on_lost` is called then, by the link's thread."""

    def __init__(self, address: Address, on_lost: Callable[[], None] = lambda: None) -> None:
        self.where = address.where
        self.mutex = threading.Lock()
        """For what only one thread may do at a time on this connection."""
        self.blocked = ""
        """Why the broker takes no messages, in its words, where it does not: it is short of memory or disk."""
        self._address = address
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._reason: BaseException | None = None
        self._connection: Any = None
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name=THREAD, daemon=True)
        self._thread.start()
        try:
            self._opened.result(4 * ANSWER_WITHIN)
        except Exception as error:
            self.drop("it did not answer")
            raise translated(error, self.where) from error

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self._reason is not None

    @property
    def connection(self) -> Any:  # noqa: ANN401 - pika has no types
        """The connection itself: for the link's own thread only."""
        return self._connection

    def ask(self, begin: Callable[[Future[T]], None], within: float = ANSWER_WITHIN) -> T:
        """Let the link's thread call `begin` with a future, and wait until something has set its result.

        Raises what the future was given instead, translated; TimerUnavailable where nothing comes in time.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                begin(future)
            except Exception as error:  # noqa: BLE001 - carried over to the caller
                failed(future, error)

        with self._lock:
            if self._reason is not None:
                raise TimerUnavailable(f"the connection to RabbitMQ at {self.where} is lost: {self._reason}")
            self._waiting.add(future)
            self._connection.ioloop.add_callback_threadsafe(run)
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

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Let the link's thread call this, so long from now; never, if the connection is lost before."""
        loop = self._connection.ioloop
        with self._lock:
            if self._reason is None:
                loop.add_callback_threadsafe(lambda: loop.call_later(max(seconds, 0.0), call))

    def drop(self, reason: str) -> None:
        """Give the connection up at once, without a word to the broker. From any thread."""
        self._ended(OSError(reason))
        if self._connection is not None:
            self._connection.ioloop.add_callback_threadsafe(lambda: self._cut(reason))

    def close(self) -> None:
        """Say good-bye; give up where that takes too long. Returns when the thread has ended."""
        with self._lock:
            if self._reason is None:
                self._connection.ioloop.add_callback_threadsafe(self._say_good_bye)
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_WITHIN)
            self.drop("closed")
            self._thread.join(CLOSE_WITHIN)

    def _say_good_bye(self) -> None:
        if self._connection.is_open:
            self._connection.close()

    def _cut(self, reason: str) -> None:
        if not self._connection.is_closed:
            # The library's own close waits for an answer, and here none is to be hoped for.
            self._connection._terminate_stream(OSError(reason))  # noqa: SLF001 - as said

    def _serve(self) -> None:
        try:
            self._connection = pika.SelectConnection(
                self._address.parameters,
                on_open_callback=self._on_open,
                on_open_error_callback=self._on_end,
                on_close_callback=self._on_end,
            )
        except Exception as error:  # noqa: BLE001 - carried over to who opens the link
            self._ended(error)
            return
        try:
            self._connection.ioloop.start()
        except Exception as error:  # noqa: BLE001 - whatever ends this thread, those who wait must hear of it
            self._ended(error)
            self._cut("its thread failed")
        finally:
            self._connection.ioloop.close()

    def _on_open(self, connection: Any) -> None:  # noqa: ANN401 - as the library calls it
        connection.add_on_connection_blocked_callback(self._on_blocked)
        self._opened.set_result(None)

    def _on_blocked(self, _connection: object, frame: Any) -> None:  # noqa: ANN401 - as the library calls it
        """Hear that the broker reads nothing more from here until it has room: what was sent is not confirmed."""
        self.blocked = str(frame.method.reason)
        self.drop(f"it takes no messages now, for it is short of something: {self.blocked}")

    def _on_end(self, connection: Any, error: BaseException) -> None:  # noqa: ANN401 - as the library calls it
        self._ended(error)
        connection.ioloop.stop()

    def _ended(self, error: BaseException) -> None:
        with self._lock:
            if self._reason is not None:
                return
            self._reason = error
            waiting, self._waiting = self._waiting, set()
        failed(self._opened, error)
        for future in waiting:
            failed(future, translated(error, self.where))
        self._on_lost()


def _hush() -> None:
    """Keep pika from logging what happens on our connections: whoever calls is told by an exception, once.

    It would warn of each question whether a queue is there. Connections that others opened by it are left alone.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "pika":
            logging.getLogger(name).addFilter(lambda record: record.threadName != THREAD)


_hush()


def failed(future: Future[Any], error: BaseException) -> None:
    """Let whoever waits have the error, unless there is an answer already."""
    if not future.done():
        future.set_exception(error)


def answered(future: Future[T], answer: T) -> None:
    """Let whoever waits have the answer, unless there is one already."""
    if not future.done():
        future.set_result(answer)
