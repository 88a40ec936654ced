"""The figures as people and programs read them."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from shop.statistics.models import Event, Tally


@dataclass(slots=True)
class Figure:
    """How many orders, worth how much."""

    count: int = 0
    amount: Decimal = Decimal("0.00")


@dataclass(slots=True)
class Day:
    """All figures of one day (UTC); an event that did not happen is zero."""

    day: date
    events: dict[str, Figure] = field(default_factory=lambda: {event.value: Figure() for event in Event})


def newest_days(limit: int, first: date | None = None) -> list[Day]:
    """Give the newest `limit` days that have figures, newest first; `first` is added if it has none."""
    days = {first: Day(first)} if first else {}
    newest = Tally.objects.order_by("-day").values_list("day", flat=True).distinct()[:limit]
    for tally in Tally.objects.filter(day__in=list(newest)).order_by("-day"):
        day = days.setdefault(tally.day, Day(tally.day))
        day.events[tally.event] = Figure(tally.count, tally.amount)
    return sorted(days.values(), key=lambda one: one.day, reverse=True)[:limit]
