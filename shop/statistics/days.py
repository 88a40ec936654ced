"""The statistics of each day: counted in the transaction of each event, read by the console and the API."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

from shop import database
from shop.statistics.models import Event, Tally


@dataclass(slots=True)
class Sum:
    """The number of orders and their total amount, in yuan."""

    count: int = 0
    amount: Decimal = Decimal("0.00")


@dataclass(slots=True)
class Day:
    """The sums of one day (UTC), by event. An event that did not happen has the sum 0."""

    day: date
    events: dict[str, Sum] = field(default_factory=lambda: {event.value: Sum() for event in Event})


def count(happened: Iterable[tuple[datetime, str, Decimal]]) -> None:
    """Add any number of (time, event, amount) to the statistics: one statement, in the caller's transaction.

    Call it last in a transaction: many transactions wait for these rows.
    """
    sums: defaultdict[tuple[date, str], Sum] = defaultdict(Sum)
    for at, event, amount in happened:
        tally = sums[at.astimezone(UTC).date(), str(event)]
        tally.count += 1
        tally.amount += amount
    if sums:
        database.run(
            "statistics/count",
            {
                "days": [day for day, _ in sums],
                "events": [event for _, event in sums],
                "counts": [tally.count for tally in sums.values()],
                "amounts": [tally.amount for tally in sums.values()],
            },
        )


def newest_days(limit: int, first: date | None = None) -> list[Day]:
    """Return the newest `limit` days that have statistics, newest first. `first` is added if it has none."""
    days = {first: Day(first)} if first else {}
    newest = Tally.objects.order_by("-day").values_list("day", flat=True).distinct()[:limit]
    for tally in Tally.objects.filter(day__in=list(newest)).order_by("-day"):
        day = days.setdefault(tally.day, Day(tally.day))
        day.events[tally.event] = Sum(tally.count, tally.amount)
    return sorted(days.values(), key=lambda day: day.day, reverse=True)[:limit]
