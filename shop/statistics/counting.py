"""Counting events into the day's figures. Always the last statement of a transaction: many wait for these rows."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal

from shop import named_sql


def count(happened: Iterable[tuple[datetime, str, Decimal]]) -> None:
    """Add (when, event, amount) to the figures: any number of them in one statement, in the caller's transaction."""
    counts: defaultdict[tuple[date, str], int] = defaultdict(int)
    amounts: defaultdict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for at, event, amount in happened:
        tally = (at.astimezone(UTC).date(), str(event))
        counts[tally] += 1
        amounts[tally] += amount
    if counts:
        named_sql.run(
            "statistics/count",
            {
                "days": [day for day, _ in counts],
                "events": [event for _, event in counts],
                "counts": list(counts.values()),
                "amounts": [amounts[tally] for tally in counts],
            },
        )
