"""The pages of figures: the overview that refreshes itself, and the days."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from shop.catalogue.models import Product
from shop.console.health import SILENT_AFTER, health
from shop.console.hours import chart_of_days, chart_of_hours, one_snapshot
from shop.console.merchants import VIEW_FIGURES, VIEW_ORDERS
from shop.console.permissions import staff_with
from shop.orders.clock import database_now
from shop.statistics.models import Event
from shop.statistics.today import newest_days

DAYS = 30


@require_safe
@staff_with()
def overview(request: HttpRequest) -> HttpResponse:
    """Show what is going on now. Who may not see figures is led to the orders."""
    if not request.user.has_perm(VIEW_FIGURES) and request.user.has_perm(VIEW_ORDERS):
        return redirect("console-orders")
    return _overview(request)


@staff_with(VIEW_FIGURES)
def _overview(request: HttpRequest) -> HttpResponse:
    with one_snapshot():
        today = database_now().date()
        figures: dict[str, Any] = {"today": newest_days(1, today)[0], "chart": chart_of_hours(today)}
    context = figures | {"health": health(), "silent_after": SILENT_AFTER}
    template = "console/overview_parts.html" if "X-Fragment" in request.headers else "console/overview.html"
    return render(request, template, context)


@require_safe
@staff_with(VIEW_FIGURES)
def days(request: HttpRequest) -> HttpResponse:
    """Show today's figures, those of the days before, and the stock."""
    with one_snapshot():
        found = newest_days(DAYS, database_now().date())
        products = list(Product.objects.order_by("id"))
    context = {
        "today": found[0],
        "days": found,
        "events": list(Event),
        "products": products,
        "chart": chart_of_days(found),
    }
    return render(request, "console/days.html", context)
