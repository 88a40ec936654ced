"""The open streams of this web process: what feeds them, how many there may be, and how they end."""

import asyncio
import logging
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from shop.live.announcements import listen
from shop.live.feed import Feed, Subscription
from shop.live.streams import EventStream, Kind, read_orders, read_stock

log = logging.getLogger("shop.live")

ORDERS_PAUSE, STOCK_PAUSE = 0.02, 0.2
"""Seconds between two reads: the page of an order updates at once, the stock at most five times a second."""
MOST = 5_000
"""The greatest number of streams in all: each is a socket and some kilobytes."""
MOST_EACH = {Kind.ORDERS: 12, Kind.STOCK: 100}
"""The greatest number of streams of one buyer, and of one address, which many people may share."""


class TooManyStreams(Exception):
    """No further stream is opened. Pages poll instead."""


class Hub:
    """Starts with the first stream, in the event loop that serves it, and runs until the process ends."""

    def __init__(self) -> None:
        self._feeds = {
            Kind.ORDERS: Feed(read_orders, pause=ORDERS_PAUSE),
            Kind.STOCK: Feed(read_stock, pause=STOCK_PAUSE),
        }
        self._open: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False

    @contextmanager
    def open(self, stream: EventStream) -> Iterator[Subscription]:
        """Yield a subscription that feeds the stream while the block runs. Raises TooManyStreams."""
        if self._open.total() >= MOST or self._open[stream.owner] >= MOST_EACH[stream.kind]:
            raise TooManyStreams(stream.owner)
        self._start()
        feed = self._feeds[stream.kind]
        subscription = feed.subscribe(stream.first)
        self._open[stream.owner] += 1
        if self._ending:
            subscription.end()
        try:
            yield subscription
        finally:
            feed.unsubscribe(subscription)
            self._open[stream.owner] -= 1
            if not self._open[stream.owner]:
                del self._open[stream.owner]

    def end(self) -> None:
        """End every stream, so that the server can stop. Browsers open them again, at another process or later."""
        self._ending = True
        for feed in self._feeds.values():
            feed.end()

    def _start(self) -> None:
        if self._tasks:
            return
        loop = asyncio.get_running_loop()
        orders, stock = self._feeds[Kind.ORDERS], self._feeds[Kind.STOCK]
        listening = listen(orders.changed, lambda: stock.changed(None))
        self._tasks = [loop.create_task(work) for work in (listening, orders.run(), stock.run())]
        for number in (signal.SIGTERM, signal.SIGINT):
            self._end_at(number, loop)

    def _end_at(self, number: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
        """End the streams when the server gets this signal, and call the server's own handler.

        A server waits for open responses before it ends its application, so ending them there would be too late.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread can handle signals; the server's own time limit ends the streams
        before = signal.getsignal(number)

        def stop(signum: int, frame: FrameType | None) -> None:
            with suppress(RuntimeError):  # the loop is closed, and so are the streams
                loop.call_soon_threadsafe(self.end)
            if callable(before):
                before(signum, frame)

        if callable(before):  # else the server has no handler, and the signal ends the process as it should
            signal.signal(number, stop)


hub = Hub()
