"""What many are sent as: JSON, which every SQL dialect takes apart, in parts that lock rows for a moment only."""

import json
from collections.abc import Iterable, Iterator, Sequence

from lapse.engine.deadline import Claim, Deadline, check_key, to_milliseconds
from lapse.engine.errors import InvalidDeadline

MOST_ROWS = 1000
"""Rows of one statement: it bounds how long they stay locked."""


def deadline_parts(deadlines: Iterable[Deadline]) -> Iterator[str]:
    """Give key and due time, in ms, of each; of a key that comes twice, the last."""
    latest = {deadline.key: to_milliseconds(deadline.due_at) for deadline in deadlines}
    return _parts([{"key": key, "due": latest[key]} for key in sorted(latest)])


def key_parts(keys: Iterable[str]) -> Iterator[str]:
    """Give the keys that could be known."""
    return _parts(sorted(key for key in set(keys) if _storable(key)))


def _storable(key: str) -> bool:
    """Whether it could have been armed; else it is unknown, and no word of it need reach the database."""
    try:
        check_key(key)
    except InvalidDeadline:
        return False
    return True


def claim_parts(claims: Iterable[Claim]) -> Iterator[str]:
    """Give key and token of each."""
    held = {(claim.key, claim.token) for claim in claims}
    return _parts([{"key": key, "token": token} for key, token in sorted(held)])


def _parts(items: Sequence[object]) -> Iterator[str]:
    """Write the items as JSON, so many at once. They are sorted, so that rows are locked in one order."""
    for start in range(0, len(items), MOST_ROWS):
        yield json.dumps(items[start : start + MOST_ROWS], ensure_ascii=False)
