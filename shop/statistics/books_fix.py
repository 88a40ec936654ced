"""`audit --fix`: writes again what is derived from other rows: each product's `held`, and the statistics of each day.

Orders, payments and reservations are the truth and are never changed. Each derived value is computed and written in one
transaction, under a lock that makes sales wait. A transaction that has begun is waited for, so nothing is counted
twice or missed. Only one kind of lock is taken in a transaction, so a fix and a sale never wait for each other.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import transaction

from shop import database
from shop.statistics.books_check import Drift, drifts_of

log = logging.getLogger("shop.statistics")

Rows = Sequence[tuple[Any, ...]]


def fix(checks: Iterable[str]) -> list[Drift]:
    """Correct what these checks found, as far as it is derived, and return what was changed: old and new value.

    Not to be called in a transaction. Sales and cancels wait meanwhile.
    """
    return [drift for check in FIXES if check in checks for drift in _fix(check)]


@transaction.atomic(durable=True)
def _fix(check: str) -> list[Drift]:
    database.run(f"statistics/lock_{check}", {})
    # A statement after the lock, so that it sees all that was committed before.
    rows = FIXES[check](database.rows(f"statistics/check_{check}", {}))
    changed = drifts_of(check, rows)
    for drift in changed:
        log.warning("%s of %s was %s and is now %s", check, drift.subject, drift.found, drift.expected)
    return changed


def _fix_held(rows: Rows) -> Rows:
    """Write `held`, and return the rows that were written. The database refuses more than is on hand."""
    possible = [row for row in rows if row[2] <= row[3]]
    database.run("statistics/fix_held", {"skus": [row[0] for row in possible], "held": [row[2] for row in possible]})
    return possible


def _fix_statistics(rows: Rows) -> Rows:
    """Write the tallies, and return the rows that were written."""
    columns = zip(*(row[3:] for row in rows), strict=True) if rows else [()] * 4
    names = ("days", "events", "counts", "amounts")
    database.run("statistics/fix_statistics", {name: list(one) for name, one in zip(names, columns, strict=True)})
    return rows


FIXES: dict[str, Callable[[Rows], Rows]] = {"held": _fix_held, "statistics": _fix_statistics}
"""How each check's derived value is written again. What another check finds needs a person."""
