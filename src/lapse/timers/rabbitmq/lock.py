"""A lock for all processes that use one timer: an exclusive queue, which only one connection can declare."""

from collections.abc import Iterator
from contextlib import contextmanager

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerUnavailable
from lapse.timers.rabbitmq.channel import Channel
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.errors import Locked
from lapse.timers.rabbitmq.queues import CLASSIC, Names

LOCK_WITHIN = 10.0
"""Seconds to wait for a lock that another process holds, before TimerUnavailable is raised."""

LOCK_AGAIN = 0.05
"""Seconds between two tries."""


@contextmanager
def locked(connection: Connection, names: Names) -> Iterator[None]:
    """Hold the timer's lock for a block. If the connection ends earlier, so does the lock.

    Raises TimerUnavailable if another process holds the lock for too long.
    """
    end = SYSTEM_CLOCK.monotonic() + LOCK_WITHIN
    with connection.mutex:
        while True:
            with Channel(connection) as channel:
                try:
                    channel.declare_queue(names.lock, CLASSIC, exclusive=True)
                except Locked as error:
                    if SYSTEM_CLOCK.monotonic() >= end:
                        raise TimerUnavailable(f"another process keeps {names.lock} locked: {error}") from error
                else:
                    try:
                        yield
                    finally:
                        if not connection.lost:
                            channel.delete_queue(names.lock)
                    return
            SYSTEM_CLOCK.sleep(LOCK_AGAIN)
