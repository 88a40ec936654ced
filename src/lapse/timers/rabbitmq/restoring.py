"""Restores deadlines that the broker may have lost, without filling its queues with copies.

The broker cannot list the deadlines that it still has, so each restored deadline may exist twice. Therefore deadlines
are restored only a few times per generation. A process sends each deadline once per generation, even if the connection
is lost in between and the next one sends the rest.
"""

import logging
import threading
from collections.abc import Iterable

from lapse.timers.rabbitmq.channel import Channel
from lapse.timers.rabbitmq.connection import Connection
from lapse.timers.rabbitmq.errors import NotFound
from lapse.timers.rabbitmq.lock import locked
from lapse.timers.rabbitmq.messages import Message
from lapse.timers.rabbitmq.publisher import Publisher
from lapse.timers.rabbitmq.queues import RESTORES, Names

log = logging.getLogger("lapse")


class Restoring:
    """Records which deadlines this process has restored in the current generation."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._generation = ""
        self._permitted = False
        self._sent: set[int] = set()

    def restore(self, publisher: Publisher, messages: Iterable[Message]) -> None:
        """Publish the messages that this process has not yet published in this generation, if it is allowed to."""
        with self._lock:
            if publisher.generation != self._generation:
                self._permitted = _may_restore(publisher.connection, self._names)
                self._generation, self._sent = publisher.generation, set()
            if not self._permitted:
                return
            missing = {hash((message.key, message.due)): message for message in messages}
            missing = {digest: message for digest, message in missing.items() if digest not in self._sent}
        publisher.publish(missing.values())
        with self._lock:
            self._sent.update(missing)


def _may_restore(connection: Connection, names: Names) -> bool:
    """Return whether this process may restore the deadlines. If so, count it: each count is one exchange."""
    with locked(connection, names):
        for number in range(1, RESTORES + 1):
            with Channel(connection) as channel:
                try:
                    channel.declare_exchange(names.restored(number), passive=True)
                except NotFound:
                    pass
                else:
                    continue
            with Channel(connection) as channel:
                channel.declare_exchange(names.restored(number))
                return True
    log.info(
        "timer %s: the deadlines were already restored %s times; they are not restored again", names.timer, RESTORES
    )
    return False
