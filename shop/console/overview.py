"""The pages of numbers: the overview, which refreshes itself, and the statistics of each day."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from shop import database
from shop.catalogue.models import Product
from shop.console.chart import Chart, chart
from shop.console.health import SILENT_AFTER, health
from shop.console.permissions import VIEW_ORDERS, VIEW_STATISTICS, staff_with
from shop.statistics.days import Day, newest_days
from shop.statistics.models import Event

DAYS = 30
SERIES = (Event.PLACED.value, Event.PAID.value, Event.EXPIRED.value)
"""The events that the charts show."""


@require_safe
@staff_with()
def overview(request: HttpRequest) -> HttpResponse:
    """Return the page of what is going on now. Staff who may not see statistics are redirected to the orders."""
    if not request.user.has_perm(VIEW_STATISTICS) and request.user.has_perm(VIEW_ORDERS):
        return redirect("console-orders")
    return _overview(request)


@staff_with(VIEW_STATISTICS)
def _overview(request: HttpRequest) -> HttpResponse:
    with database.one_snapshot():
        today = database.database_now().date()
        numbers: dict[str, Any] = {"today": newest_days(1, today)[0], "chart": _chart_of_hours(today)}
    context = numbers | {"health": health(), "silent_after": SILENT_AFTER}
    template = "console/overview_parts.html" if "X-Fragment" in request.headers else "console/overview.html"
    return render(request, template, context)


@require_safe
@staff_with(VIEW_STATISTICS)
def statistics(request: HttpRequest) -> HttpResponse:
    """Return the page with the statistics of today and of the days before, and the stock."""
    with database.one_snapshot():
        days = newest_days(DAYS, database.database_now().date())
        products = list(Product.objects.order_by("id"))
    context = {
        "today": days[0],
        "days": days,
        "events": list(Event),
        "products": products,
        "chart": _chart_of_days(days),
    }
    return render(request, "console/statistics.html", context)


def _chart_of_hours(day: date) -> Chart:
    """Return a chart of the 24 hours of a day (UTC)."""
    since = datetime.combine(day, time.min, UTC)
    numbers: list[dict[str, int]] = [{} for _ in range(24)]
    for hour, event, count in database.rows("console/hours", {"since": since, "until": since + timedelta(days=1)}):
        numbers[hour][event] = count
    return chart([(f"{hour:02}:00", found) for hour, found in enumerate(numbers)], SERIES, name_every=3)


def _chart_of_days(days: list[Day]) -> Chart:
    """Return a chart of days, the oldest at the left."""
    groups = [
        (day.day.isoformat(), {event: day.events[event].count for event in SERIES})
        for day in sorted(days, key=lambda day: day.day)
    ]
    return chart(groups, SERIES, name_every=max(1, len(groups) // 7))
