"""Batches as JSON, which every SQL dialect can read, in parts that lock rows only for a short time."""

import json
from collections.abc import Iterable, Iterator, Sequence

from lapse.engine.deadline import Claim, Deadline, check_key, to_milliseconds
from lapse.engine.errors import InvalidDeadline

MOST_ROWS = 1000
"""The largest number of rows in one statement, which limits how long rows stay locked."""


def deadline_parts(deadlines: Iterable[Deadline]) -> Iterator[str]:
    """Return parts with key and due time, in ms since 1970. If a key comes twice, its last deadline counts."""
    latest = {deadline.key: to_milliseconds(deadline.due_at) for deadline in deadlines}
    return _parts([{"key": key, "due": latest[key]} for key in sorted(latest)])


def key_parts(keys: Iterable[str]) -> Iterator[str]:
    """Return parts with the keys, except keys that no timer can store."""
    return _parts(sorted(key for key in set(keys) if _storable(key)))


def claim_parts(claims: Iterable[Claim]) -> Iterator[str]:
    """Return parts with key and token of each claim."""
    held = {(claim.key, claim.token) for claim in claims}
    return _parts([{"key": key, "token": token} for key, token in sorted(held)])


def _storable(key: str) -> bool:
    """Return whether the key could have been armed. Any other key is unknown, so it is not sent to the database."""
    try:
        check_key(key)
    except InvalidDeadline:
        return False
    return True


def _parts(items: Sequence[object]) -> Iterator[str]:
    """Yield the items as JSON, up to MOST_ROWS at once. They are sorted, so that all statements lock in one order."""
    for start in range(0, len(items), MOST_ROWS):
        yield json.dumps(items[start : start + MOST_ROWS], ensure_ascii=False)
