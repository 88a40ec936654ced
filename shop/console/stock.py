"""The stock: what is there, what is held and by which orders; pieces that come in; the audit on demand."""

from dataclasses import dataclass
from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from shop.catalogue.models import Product
from shop.console.merchants import RESTOCK, VIEW_STOCK
from shop.console.models import Restock
from shop.console.orders import holding, merchant_of
from shop.console.permissions import staff_with
from shop.orders.models import Order, new_public_id
from shop.statistics.books_check import CHECKS, Drift, audit

MOST_PIECES = 99_999
SHOWN = 8
"""How many holding orders, and restocks, are shown."""
AUDIT_GRACE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A product with the orders that hold it; `more` of them are not shown."""

    product: Product
    holders: list[tuple[Order, int]]
    more: int


@require_safe
@staff_with(VIEW_STOCK)
def shelves(request: HttpRequest) -> HttpResponse:
    """Show the stock."""
    return _show(request)


@require_POST
@staff_with(VIEW_STOCK)
def check(request: HttpRequest) -> HttpResponse:
    """Run the audit on one snapshot and show what it found."""
    return _show(request, audit(grace=AUDIT_GRACE))


@require_POST
@staff_with(VIEW_STOCK, RESTOCK)
def restock(request: HttpRequest, sku: str) -> HttpResponse:
    """Add pieces, or take some away that nobody holds. The same form sent twice changes the stock once."""
    product = get_object_or_404(Product, sku=sku)
    pieces = _pieces(request.POST.get("pieces", ""))
    key = request.POST.get("form-key", "")
    if not pieces or not (key.isalnum() and len(key) <= 64):  # noqa: PLR2004  # the column's length
        messages.error(request, gettext("Give a whole number of pieces, such as 12 or -1."))
        return redirect("console-stock")
    try:
        changed = _change(product, pieces, merchant_of(request), key)
    except IntegrityError:
        messages.info(request, gettext("This was done before; nothing was changed again."))
        return redirect("console-stock")
    if changed:
        said = {"pieces": f"{pieces:+}", "sku": product.sku}
        messages.success(request, gettext("%(sku)s: %(pieces)s pieces.") % said)
    else:
        messages.error(request, gettext("So many are not there: orders hold some. Nothing was changed."))
    return redirect("console-stock")


@transaction.atomic
def _change(product: Product, pieces: int, who: User, key: str) -> bool:
    """Change the stock where what orders hold stays there. Raises IntegrityError where this form was used before."""
    Restock.objects.create(key=key, product=product, pieces=pieces, who=who)
    enough = Product.objects.filter(
        pk=product.pk, on_hand__gte=F("held") - pieces, on_hand__lte=2**31 - 1 - MOST_PIECES
    )
    if enough.update(on_hand=F("on_hand") + pieces):
        return True
    transaction.set_rollback(True)
    return False


def _show(request: HttpRequest, drifts: list[Drift] | None = None) -> HttpResponse:
    holders = holding()
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


def _pieces(text: str) -> int:
    """Read a number of pieces; 0 for what is none."""
    try:
        pieces = int(text)
    except ValueError:
        return 0
    return pieces if abs(pieces) <= MOST_PIECES else 0
