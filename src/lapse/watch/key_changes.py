"""Received changes of keys that are not yet learnt: the latest change of each key, for a limited number of keys."""

import threading
from itertools import islice

EXPIRED, DELETED, UNWATCHED, CHANGED = "x", "d", "w", "?"
"""The hints about a key for `learn.lua`. UNWATCHED: a key of the ledger disappeared while no watcher ran."""

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
"""The events that can change when a key expires. `evicted` is missing: the deadline of an evicted key stays."""

ROOM = 100_000
"""How many keys may wait to be learnt. If there are more, no event is read for a while. If the server has to wait too
long, it ends the connection; then all keys are scanned."""


class KeyChanges:
    """A bounded buffer of changes, filled by one thread and emptied by another."""

    def __init__(self) -> None:
        self._hints: dict[str, str] = {}
        self._changed = threading.Condition()
        self._closed = False

    def note(self, key: str, hint: str) -> None:
        """Add a key. If there is no room, wait."""
        with self._changed:
            while len(self._hints) >= ROOM and key not in self._hints and not self._closed:
                self._changed.wait(0.5)
            # The hint CHANGED need not replace an earlier hint: learning reads the key itself.
            if hint != CHANGED or key not in self._hints:
                self._hints[key] = hint
            self._changed.notify_all()

    def take(self, most: int, wait: float) -> dict[str, str]:
        """Remove and return up to `most` keys with their hints. Wait up to `wait` seconds for the first key."""
        with self._changed:
            if not self._hints and not self._closed:
                self._changed.wait(wait)
            taken = {key: self._hints[key] for key in islice(self._hints, most)}
            for key in taken:
                del self._hints[key]
            self._changed.notify_all()
            return taken

    def put_back(self, hints: dict[str, str]) -> None:
        """Put back keys that could not be learnt. If a newer hint for a key has come since, it stays."""
        with self._changed:
            for key, hint in hints.items():
                if self._hints.get(key, CHANGED) == CHANGED:
                    self._hints[key] = hint

    def forget(self) -> None:
        """Remove all keys."""
        with self._changed:
            self._hints.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """End every wait. Later calls do not wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
