"""What this process has told a broker again that may have lost it: each deadline once, and not too often in all."""

import threading
from collections.abc import Iterable

from lapse.timers.rabbitmq.generation import may_restore
from lapse.timers.rabbitmq.messages import Note
from lapse.timers.rabbitmq.publisher import Outbox
from lapse.timers.rabbitmq.queues import Names


class Restoring:
    """Restores deadlines in a broker's memory that may have lost them.

    Nobody can look up which of them it knows, so each may double one. Therefore only so many processes restore one
    memory, and each tells it each deadline once, also where the connection is lost in between and the rest is told over
    the next.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._memory = ""
        self._permitted = False
        self._told: set[int] = set()

    def restore(self, outbox: Outbox, notes: Iterable[Note]) -> None:
        """Post those of the notes that are to be told."""
        with self._lock:
            if outbox.memory != self._memory:
                self._permitted = may_restore(outbox.link, self._names)
                self._memory, self._told = outbox.memory, set()
            if not self._permitted:
                return
            untold = {hash((note.key, note.due)): note for note in notes}
            untold = {what: note for what, note in untold.items() if what not in self._told}
        outbox.post(untold.values())
        with self._lock:
            self._told.update(untold)
