"""The page of the stock: what is on hand, what is held by which orders, pieces to add, and the audit on demand."""

from dataclasses import dataclass
from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from shop.buyers.changing import changes, is_form_key
from shop.catalogue.models import Product
from shop.console.models import Restock
from shop.console.permissions import RESTOCK, VIEW_STOCK, merchant_of, staff_with
from shop.orders.models import UNPAID, Order, new_public_id
from shop.statistics.books_check import CHECKS, Drift, audit

MOST_PIECES = 99_999
SHOWN = 8
"""How many holding orders per product, and how many restocks, are shown."""
MOST_HOLDING = 500
"""How many unpaid orders are read to find the holding orders."""
AUDIT_GRACE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A product with the orders that hold it, oldest deadline first. `more` further orders are not shown."""

    product: Product
    holders: list[tuple[Order, int]]
    more: int


@require_safe
@staff_with(VIEW_STOCK)
def stock(request: HttpRequest) -> HttpResponse:
    """Return the page."""
    return _show(request)


@changes("console-stock")
@staff_with(VIEW_STOCK)
def check(request: HttpRequest) -> HttpResponse:
    """Run the audit on one snapshot and return the page with its result."""
    return _show(request, audit(grace=AUDIT_GRACE))


@changes("console-stock")
@staff_with(VIEW_STOCK, RESTOCK)
def restock(request: HttpRequest, sku: str) -> HttpResponse:
    """Add pieces, or take away pieces that no order holds, and return to the page. The same form counts once."""
    product = get_object_or_404(Product, sku=sku)
    pieces = _pieces(request.POST.get("pieces", ""))
    key = request.POST.get("form-key", "")
    if not pieces or not is_form_key(key):
        messages.error(request, gettext("Enter a whole number of pieces, such as 12 or -1."))
        return redirect("console-stock")
    try:
        changed = _change(product, pieces, merchant_of(request), key)
    except IntegrityError:
        messages.info(request, gettext("This form was already processed. Nothing was changed again."))
        return redirect("console-stock")
    if changed:
        values = {"pieces": f"{pieces:+}", "sku": product.sku}
        messages.success(request, gettext("%(sku)s: %(pieces)s pieces.") % values)
    else:
        messages.error(
            request, gettext("There are too few pieces, because orders hold some of them. Nothing was changed.")
        )
    return redirect("console-stock")


@transaction.atomic
def _change(product: Product, pieces: int, who: User, key: str) -> bool:
    """Change the stock and return True; return False if orders hold too many of the pieces.

    Raises IntegrityError if this form was used before.
    """
    Restock.objects.create(key=key, product=product, pieces=pieces, who=who)
    enough = Product.objects.filter(
        pk=product.pk, on_hand__gte=F("held") - pieces, on_hand__lte=2**31 - 1 - MOST_PIECES
    )
    if enough.update(on_hand=F("on_hand") + pieces):
        return True
    transaction.set_rollback(True)
    return False


def _show(request: HttpRequest, drifts: list[Drift] | None = None) -> HttpResponse:
    holders = _holding_orders()
    shelves = []
    for product in Product.objects.order_by("id"):
        all_holders = holders.get(product.pk, [])
        shelves.append(Shelf(product, all_holders[:SHOWN], max(0, len(all_holders) - SHOWN)))
    context = {
        "shelves": shelves,
        "restocks": Restock.objects.select_related("product", "who")[:SHOWN],
        "form_key": new_public_id(),
        "audited": drifts is not None,
        "drifts": drifts,
        "checks": CHECKS,
    }
    return render(request, "console/stock.html", context)


def _holding_orders() -> dict[int, list[tuple[Order, int]]]:
    """Return the unpaid orders that hold each product, with their pieces: by the product's id, first deadline first."""
    holders: dict[int, list[tuple[Order, int]]] = {}
    for order in Order.objects.filter(UNPAID).order_by("pay_by").prefetch_related("lines")[:MOST_HOLDING]:
        for line in order.lines.all():
            holders.setdefault(line.product_id, []).append((order, line.quantity))
    return holders


def _pieces(text: str) -> int:
    """Return the number of pieces, or 0 if the text is no valid number."""
    try:
        pieces = int(text)
    except ValueError:
        return 0
    return pieces if abs(pieces) <= MOST_PIECES else 0
