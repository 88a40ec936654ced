"""The audit: recomputes stock and figures from the rows, and names everything that does not agree."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from shop import named_sql

CHECKS = {
    "held": "a product's `held` is the sum of its held reservations",
    "figures": "each day's figures are the sums over its orders",
    "holds": "unpaid orders hold their lines, paid ones have consumed them, cancelled ones have released them",
    "totals": "an order's total is the sum of its lines",
    "overdue": "no order is unpaid past its deadline by more than the grace",
    "early": "no order expired before its deadline",
    "trail": "an order was paid or cancelled once, and its trail says so",
}
"""Each check by its name, which is also its file in statistics/sql/audit_<name>.sql; a row there is a drift."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that does not agree: `subject` is a SKU, an order or a day, `found` and `expected` say how."""

    check: str
    subject: str
    found: str
    expected: str


def audit(*, grace: timedelta) -> list[Drift]:
    """Run every check on one snapshot, so that a shop at work shows no drift that is none.

    Not to be called in a transaction.
    """
    parameters: dict[str, Any] = {"grace": grace}
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return [
            Drift(check, str(subject), str(found), str(expected))
            for check in CHECKS
            for subject, found, expected in named_sql.rows(f"statistics/audit_{check}", parameters)
        ]
