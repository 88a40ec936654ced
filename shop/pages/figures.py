"""The day's figures, for the merchant."""

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from shop.catalogue.models import Product
from shop.figures.models import Event
from shop.figures.today import newest_days
from shop.orders.clock import database_now

DAYS = 14


@login_required
@require_safe
@never_cache
def statistics(request: HttpRequest) -> HttpResponse:
    """Show today's figures, those of the days before, and the stock."""
    if not request.user.is_staff:
        raise PermissionDenied("This page is for the merchant.")
    days = newest_days(DAYS, database_now().date())
    context = {"today": days[0], "days": days, "events": list(Event), "products": Product.objects.order_by("id")}
    return render(request, "shop/statistics.html", context)
