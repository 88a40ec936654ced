"""The audit: computes stock, statistics and money again from the rows, and names everything that does not agree."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lapse.integrations.django import unpaid_orders
from shop import database

CHECKS = {
    "held": "a product's `held` is the sum of its held reservations",
    "statistics": "each day's statistics are the sums over its orders, refunds and reinstatements",
    "holds": "unpaid orders hold their lines, paid orders have consumed them, cancelled orders have released them",
    "totals": "an order's total is the sum of its lines",
    "overdue": "no order is unpaid past its deadline by more than both graces, the shop's and the audit's",
    "early": "no order expired before its deadline",
    "audit_trail": "an order's trail has each change of its status, one end, and one more after each reinstatement",
    "audit_attempts": "the trail of an attempt ends with its state, and its refunds are those of the attempt",
    "payments": "the payments of a paid order hold its total less its refunds, those of any other order nothing",
    "attempts": "an attempt with money paid an order, is to be refunded or reviewed, or was written off for a reason",
    "open_attempts": "no attempt of a paid or cancelled order can still be paid, after the grace",
    "asked": "the gateway is asked again about each attempt that may have money or a refund due",
    "numbers": "a gateway's number of a payment is on one attempt only",
}
"""What each check proves, by its name. Each row of statistics/sql/check_<name>.sql is a drift."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One disagreement. `subject` is a SKU, an order, an attempt or a day; `found` and `expected` are two values."""

    check: str
    subject: str
    found: str
    expected: str


def audit(*, grace: timedelta) -> list[Drift]:
    """Run every check on one snapshot and return what does not agree. `grace` is how late a lapse may be.

    The snapshot keeps a shop that is at work from showing false drifts. Not to be called in a transaction.
    """
    parameters: dict[str, Any] = {"grace": grace, "overdue_after": unpaid_orders().grace + grace}
    with database.one_snapshot():
        return [
            drift
            for check in CHECKS
            for drift in drifts_of(check, database.rows(f"statistics/check_{check}", parameters))
        ]


def drifts_of(check: str, rows: Iterable[tuple[Any, ...]]) -> list[Drift]:
    """Return the rows of a check as drifts. Columns after the third are for the fix."""
    return [Drift(check, *map(str, row[:3])) for row in rows]
