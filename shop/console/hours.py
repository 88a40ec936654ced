"""What happened hour by hour on one day, UTC."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection, transaction

from shop import named_sql
from shop.console.chart import Chart, chart
from shop.statistics.models import Event
from shop.statistics.today import Day

SERIES = (Event.PLACED.value, Event.PAID.value, Event.EXPIRED.value)
"""The events that the charts show."""


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Read all within at one moment, so that figures and charts agree however busy the shop is.

    Not to be entered in a transaction.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def chart_of_hours(day: date) -> Chart:
    """Draw the 24 hours of a day."""
    since = datetime.combine(day, time.min, UTC)
    numbers: list[dict[str, int]] = [{} for _ in range(24)]
    for hour, event, count in named_sql.rows("console/hours", {"since": since, "until": since + timedelta(days=1)}):
        numbers[hour][event] = count
    return chart([(f"{hour:02}:00", found) for hour, found in enumerate(numbers)], SERIES, name_every=3)


def chart_of_days(days: list[Day]) -> Chart:
    """Draw days, given newest first, from left to right."""
    groups = [
        (day.day.isoformat(), {one: day.events[one].count for one in SERIES})
        for day in sorted(days, key=lambda one: one.day)
    ]
    return chart(groups, SERIES, name_every=max(1, len(groups) // 7))
