"""The audit: computes stock and statistics again from the rows, and names everything that does not agree."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shop import database

CHECKS = {
    "held": "a product's `held` is the sum of its held reservations",
    "statistics": "each day's statistics are the sums over its orders, refunds and reinstatements",
    "holds": "unpaid orders hold their lines, paid orders have consumed them, cancelled orders have released them",
    "totals": "an order's total is the sum of its lines",
    "overdue": "no order is unpaid past its deadline by more than the grace",
    "early": "no order expired before its deadline",
    "audit_trail": "an order was paid or cancelled once, once more after each reinstatement, and its trail says so",
}
"""What each check proves, by its name. Each row of statistics/sql/check_<name>.sql is a drift."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One disagreement. `subject` is a SKU, an order or a day; `found` and `expected` are the two values."""

    check: str
    subject: str
    found: str
    expected: str


def audit(*, grace: timedelta) -> list[Drift]:
    """Run every check on one snapshot and return what does not agree.

    The snapshot keeps a shop that is at work from showing false drifts. Not to be called in a transaction.
    """
    parameters: dict[str, Any] = {"grace": grace}
    with database.one_snapshot():
        return [
            Drift(check, str(subject), str(found), str(expected))
            for check in CHECKS
            for subject, found, expected, *_ in database.rows(f"statistics/check_{check}", parameters)
        ]
