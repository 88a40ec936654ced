"""What was heard of keys and is not yet learnt: the latest word on each, and no more keys than there is room for."""

import threading
from itertools import islice

EXPIRED, DELETED, UNWATCHED, CHANGED = "x", "d", "w", "?"
"""What is known of a key, as `learn.lua` takes it. UNWATCHED: it is in the ledger, and nobody saw what became of it."""

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
"""Keys that may wait. Then nothing more is heard until some are learnt; a server that is kept waiting too long ends the
connection, after which all keys are looked at."""


class KeyChanges:
    """Filled by one thread, emptied by another."""

    def __init__(self) -> None:
        self._hints: dict[str, str] = {}
        self._changed = threading.Condition()
        self._closed = False

    def note(self, key: str, hint: str) -> None:
        """Put a key in; wait where there is no room."""
        with self._changed:
            while len(self._hints) >= ROOM and key not in self._hints and not self._closed:
                self._changed.wait(0.5)
            # That a key has changed says nothing against what was heard before: learning looks at the key itself.
            if hint != CHANGED or key not in self._hints:
                self._hints[key] = hint
            self._changed.notify_all()

    def take(self, most: int, wait: float) -> dict[str, str]:
        """Take out at most so many; wait so many seconds for the first. Each key with its hint."""
        with self._changed:
            if not self._hints and not self._closed:
                self._changed.wait(wait)
            taken = {key: self._hints[key] for key in islice(self._hints, most)}
            for key in taken:
                del self._hints[key]
            self._changed.notify_all()
            return taken

    def put_back(self, hints: dict[str, str]) -> None:
        """Put in again what could not be learnt; what was heard since is newer."""
        with self._changed:
            for key, hint in hints.items():
                if self._hints.get(key, CHANGED) == CHANGED:
                    self._hints[key] = hint

    def forget(self) -> None:
        """Take out all."""
        with self._changed:
            self._hints.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
