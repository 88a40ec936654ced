"""The changes of keys that are received and not yet learnt: the latest on each key, for a bounded number of keys."""

import threading
from itertools import islice

EXPIRED, DELETED, UNWATCHED, CHANGED = "x", "d", "w", "?"
"""What is known of a key, as `learn.lua` takes it. UNWATCHED: a key of the ledger went while no watcher ran."""

HINTS = {
    b"expired": EXPIRED,
    b"del": DELETED,
    b"rename_from": DELETED,
    b"move_from": DELETED,
    b"set": CHANGED,
    b"expire": CHANGED,
    b"persist": CHANGED,
    b"restore": CHANGED,
    b"rename_to": CHANGED,
    b"move_to": CHANGED,
    b"copy_to": CHANGED,
}
"""The events that can change when a key expires. Not `evicted`: a key that had to go early leaves its deadline."""

ROOM = 100_000
"""Keys that may wait. Beyond that no event is read until some keys are learnt. A server that has to wait too long ends
the connection, after which all keys are scanned."""


class KeyChanges:
    """A bounded buffer of changes, filled by one thread and emptied by another."""

    def __init__(self) -> None:
        self._hints: dict[str, str] = {}
        self._changed = threading.Condition()
        self._closed = False

    def note(self, key: str, hint: str) -> None:
        """Put a key in; wait where there is no room."""
        with self._changed:
            while len(self._hints) >= ROOM and key not in self._hints and not self._closed:
                self._changed.wait(0.5)
            # That a key has changed contradicts no earlier hint: learning reads the key itself.
            if hint != CHANGED or key not in self._hints:
                self._hints[key] = hint
            self._changed.notify_all()

    def take(self, most: int, wait: float) -> dict[str, str]:
        """Take out and return at most so many keys, each with its hint; wait so many seconds for the first."""
        with self._changed:
            if not self._hints and not self._closed:
                self._changed.wait(wait)
            taken = {key: self._hints[key] for key in islice(self._hints, most)}
            for key in taken:
                del self._hints[key]
            self._changed.notify_all()
            return taken

    def put_back(self, hints: dict[str, str]) -> None:
        """Put in again what could not be learnt. A hint that came since is newer, and stays."""
        with self._changed:
            for key, hint in hints.items():
                if self._hints.get(key, CHANGED) == CHANGED:
                    self._hints[key] = hint

    def forget(self) -> None:
        """Take out all keys."""
        with self._changed:
            self._hints.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """End every wait, and let no later call wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
