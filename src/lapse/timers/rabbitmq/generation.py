"""The broker's memory of one timer: whether it is the same as before, made where there is none, and restored in it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from uuid import uuid4

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerUnavailable
from lapse.timers.rabbitmq.channel import Arrived, Line, Post
from lapse.timers.rabbitmq.connection import Link
from lapse.timers.rabbitmq.errors import Absent, Locked
from lapse.timers.rabbitmq.flush_queue_names import seal
from lapse.timers.rabbitmq.queues import QUORUM, Names

log = logging.getLogger("lapse")

RESTORES = 3
"""How often the deadlines may be armed again in one memory: each time doubles those that it knows."""

READ_WITHIN = 5.0
"""Seconds that a queue has to give its message: one that died while it read it gives it back first."""

LOCK_WITHIN = 10.0
LOCK_AGAIN = 0.05


def remembered(link: Link, names: Names) -> str:
    """Name the broker's memory of this timer. Where there is none, or it is not whole, make it anew."""
    with locked(link, names):  # also to read it, for only one can at a time
        if exists(link, names.due) and (memory := _read(link, names)):
            return memory
        with Line(link, confirming=True) as line:
            line.delete_queue(names.memory)
            for number in range(1, RESTORES + 1):
                line.delete_exchange(names.restored(number))
            for queue in (names.memory, names.buried, names.due):
                line.declare_queue(queue, QUORUM)
            seal(line, names)
            memory = uuid4().hex
            line.publish([Post("", names.memory, memory.encode())])  # the last: whoever finds it finds all the others
        return memory


def may_restore(link: Link, names: Names) -> bool:
    """Whether the deadlines may be armed again in this memory; if so, that is counted."""
    with locked(link, names):
        for number in range(1, RESTORES + 1):
            with Line(link) as line:
                try:
                    line.declare_exchange(names.restored(number), passive=True)
                except Absent:
                    pass
                else:
                    continue
            with Line(link) as line:
                line.declare_exchange(names.restored(number))
                return True
    log.info("timer %s: RabbitMQ was told all deadlines before, so they are not armed again", names.timer)
    return False


def exists(link: Link, queue: str) -> bool:
    """Whether there is such a queue."""
    with Line(link) as line:
        try:
            line.count(queue)
        except Absent:
            return False
        return True


@contextmanager
def locked(link: Link, names: Names) -> Iterator[None]:
    """Keep all others, in any process, from doing so at the same time: it ends with the connection at the latest."""
    end = SYSTEM_CLOCK.monotonic() + LOCK_WITHIN
    with link.mutex:
        while True:
            with Line(link) as line:
                try:
                    line.declare_queue(names.lock, {}, exclusive=True)
                except Locked as error:
                    if SYSTEM_CLOCK.monotonic() >= end:
                        raise TimerUnavailable(f"another process holds {names.lock} for long: {error}") from error
                else:
                    try:
                        yield
                    finally:
                        if not link.lost:
                            line.delete_queue(names.lock)
                    return
            SYSTEM_CLOCK.sleep(LOCK_AGAIN)


def _read(link: Link, names: Names) -> str:
    """Take the message that names the memory, and give it back. Returns nothing where there is none."""
    heard: SimpleQueue[Arrived] = SimpleQueue()
    try:
        with Line(link) as line:
            tag = line.consume(names.memory, 1, heard.put)
            try:
                arrived = heard.get(timeout=READ_WITHIN)
            finally:
                line.cancel(tag)
            line.answer(returned=[arrived.tag])
            return arrived.body.decode()
    except (Absent, Empty):
        return ""
