"""The page that names who holds what in unpaid orders: by buyer and by product, the most held first."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from shop import database
from shop.catalogue.models import Product
from shop.console.permissions import VIEW_ORDERS, staff_with

MOST = 100
"""How many buyers are shown."""
SORTS = ("pieces", "orders", "until", "lapsed", "largest")


class BuyerHolds(NamedTuple):
    """What one buyer holds. `lapsed` counts the buyer's orders that lapsed lately."""

    username: str
    email: str
    pieces: int
    orders: int
    worth: Decimal
    until: datetime
    lapsed: int


class ProductHeld(NamedTuple):
    """How much of one product is held. The last three columns are about the buyer who holds most of it."""

    sku: str
    on_hand: int
    pieces: int
    orders: int
    buyers: int
    until: datetime
    largest: int
    username: str
    email: str


@require_safe
@staff_with(VIEW_ORDERS)
def holders(request: HttpRequest) -> HttpResponse:
    """Return the page, sorted by the column that the query names."""
    asked = request.GET.get("sort", "")
    sort = asked if asked in SORTS else SORTS[0]
    within = settings.LAPSE_PAUSE_WITHIN
    buyers = database.rows("console/holders_by_buyer", {"sort": sort, "within": within, "most": MOST})
    held = [ProductHeld(*row) for row in database.rows("console/holders_by_product", {"sort": sort})]
    names = {product.sku: product.shown_name for product in Product.objects.filter(sku__in=[one.sku for one in held])}
    context = {
        "sort": sort,
        "buyers": [BuyerHolds(*row) for row in buyers],
        "products": [(one, names.get(one.sku, one.sku)) for one in held],
        "shown": MOST,
    }
    return render(request, "console/holders.html", context)
