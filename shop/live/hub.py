"""The open streams of this web process: what feeds them, how many there may be, and their end."""

import asyncio
import logging
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from shop.live import reading
from shop.live.announcements import hear
from shop.live.feed import Feed, Subscription
from shop.live.stream import EventStream, Kind

log = logging.getLogger("shop.live")

ORDERS_PAUSE, STOCK_PAUSE = 0.02, 0.2
"""Seconds between two readings: an order's page turns at once, the stock is told five times a second at most."""
MOST = 5_000
"""The most streams in all: each is a socket and some kilobytes."""
MOST_EACH = {Kind.ORDERS: 12, Kind.STOCK: 100}
"""The most streams of one buyer, and of one address, behind which there may be many people."""


class TooManyStreams(Exception):
    """No further stream is opened; pages ask now and then instead."""


class Hub:
    """Starts with the first stream, in the event loop that serves it, and stays."""

    def __init__(self) -> None:
        self._feeds = {
            Kind.ORDERS: Feed(reading.orders, pause=ORDERS_PAUSE),
            Kind.STOCK: Feed(reading.stock, pause=STOCK_PAUSE),
        }
        self._open: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False

    @contextmanager
    def open(self, stream: EventStream) -> Iterator[Subscription]:
        """Have a stream fed while the block runs. Raises TooManyStreams."""
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
        """End every stream, so that the server can stop; browsers open them again, elsewhere or later."""
        self._ending = True
        for feed in self._feeds.values():
            feed.end()

    def _start(self) -> None:
        if self._tasks:
            return
        loop = asyncio.get_running_loop()
        orders, stock = self._feeds[Kind.ORDERS], self._feeds[Kind.STOCK]
        heard = hear(orders.changed, lambda: stock.changed(None))
        self._tasks = [loop.create_task(work) for work in (heard, orders.run(), stock.run())]
        for number in (signal.SIGTERM, signal.SIGINT):
            self._end_at(number, loop)

    def _end_at(self, number: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
        """End the streams when the server is told to stop, beside whatever the server does then.

        A server waits for open answers before it ends its application, so that would be too late.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # signals belong to the main thread; the server's own time limit ends the streams
        before = signal.getsignal(number)

        def told(came: int, frame: FrameType | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: so are the streams
                loop.call_soon_threadsafe(self.end)
            if callable(before):
                before(came, frame)

        if callable(before):  # else the server has no handler, and the signal ends the process as it should
            signal.signal(number, told)


hub = Hub()
