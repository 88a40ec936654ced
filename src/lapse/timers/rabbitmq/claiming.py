"""Waits until a deadline is due. Messages that arrived too early are sent back to the waiting queues."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from lapse.engine import waiting
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerError
from lapse.engine.waker import Waker
from lapse.timers.rabbitmq.consumer import MOST_AT_ONCE, Consumer, Subscription
from lapse.timers.rabbitmq.errors import QueueFull
from lapse.timers.rabbitmq.messages import Received
from lapse.timers.rabbitmq.publisher import Publisher, milliseconds_now
from lapse.timers.rabbitmq.queues import Names

SOON = 1000
"""Milliseconds. A message that is early by at most this is kept during a claim instead of sent back."""


class Wakeups:
    """Ends the waits of one timer's claims. Each claim has a separate waker, for its own deliveries."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wakers: tuple[Waker, ...] = ()  # replaced, never changed: a signal handler may be reading it
        self._interrupts: SimpleQueue[None] = SimpleQueue()

    @contextmanager
    def waker(self) -> Iterator[Waker]:
        """Provide a waker for a block."""
        waker = Waker()
        with self._lock:
            self._wakers = (*self._wakers, waker)
        try:
            yield waker
        finally:
            with self._lock:
                self._wakers = tuple(other for other in self._wakers if other is not waker)

    def wake_all(self) -> None:
        """Make every waiting claim look again."""
        for waker in self._wakers:
            waker.wake()

    def interrupt(self) -> None:
        """Make one waiting claim return at once; if none waits, the next one that would. Signal-safe."""
        self._interrupts.put(None)
        self.wake_all()

    def interrupted(self) -> bool:
        """Return whether the calling claim must return. Each interrupt ends one claim."""
        try:
            self._interrupts.get_nowait()
        except Empty:
            return False
        return True


class Claiming:
    """Takes due messages from a timer's queue. `publisher` returns the publisher that sends early messages back."""

    def __init__(self, names: Names, wakeups: Wakeups, publisher: Callable[[], Publisher]) -> None:
        self._names = names
        self._wakeups = wakeups
        self._publisher = publisher

    def due(self, consumer: Consumer, limit: int, wait: float) -> list[Received]:
        """Return messages that are due by this process's clock. If none is due, wait up to `wait` seconds."""
        end = SYSTEM_CLOCK.monotonic() + wait
        with (
            self._wakeups.waker() as waker,
            consumer.subscribe(self._names.due, min(limit, MOST_AT_ONCE), waker.wake) as subscription,
        ):
            while True:
                subscription.gather()
                now = milliseconds_now()
                due, early = subscription.split(now)
                left = end - SYSTEM_CLOCK.monotonic()
                if due or left <= 0 or self._wakeups.interrupted():
                    break
                self._send_back(consumer, subscription, [copy for copy in early if copy.message.at - now > SOON])
                soonest = min((copy.message.at - now for copy in early), default=SOON) / 1000
                waker.wait(min(left, waiting.LOOK_AGAIN, soonest))
            subscription.end()  # before messages are returned, so that no delivery arrives that no claim would take
            due, early = subscription.split(milliseconds_now())
            try:
                self._send_back(consumer, subscription, early)
            except TimerError:  # a broker that is short of memory accepts no message, but due ones must be returned
                if not due:
                    raise
            if left_over := {copy.tag for copy in subscription.received} - {copy.tag for copy in due}:
                consumer.channel.answer(requeue=left_over)
            return due

    def _send_back(self, consumer: Consumer, subscription: Subscription, early: list[Received]) -> None:
        """Publish early messages again, so that they wait for the rest of their time.

        A message is early if its delay is longer than all levels together can wait. It is also early if the clock of
        the process that computed the delay is ahead of this process's clock. Messages for which a queue is full stay in
        the subscription.
        """
        if not early:
            return
        try:
            self._publisher().publish([copy.counted for copy in early])
        except QueueFull as full:
            early = [copy for copy in early if copy.counted.encode() in full.stored]
        consumer.channel.answer(ack=[copy.tag for copy in early])
        subscription.remove(early)
