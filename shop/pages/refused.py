"""The page that explains why an order was refused and offers what can be ordered instead."""

from collections.abc import Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from shop.catalogue.models import Product
from shop.orders.placing import MOST_PIECES, Wanted
from shop.orders.refusals import PriceChanged, Refused, SoldOut


def explain(refusal: Refused) -> str:
    """Return the explanation of a refusal in the visitor's language."""
    texts = {
        "bad-order": _(
            "This cannot be ordered. Choose at least one product. Every quantity must be a whole number from 1 to %d."
        )
        % MOST_PIECES,
        "price-changed": _("Prices have changed since you looked. Nothing was ordered."),
        "sold-out": _("Another buyer was faster, and not enough is left. Nothing was ordered."),
        "too-many-open-orders": _("You have too many unpaid orders. Pay or cancel one of them first."),
        "cart-changed": _("Your cart has changed since this page was loaded. Nothing was ordered."),
        "idempotency-key-reused": _(
            "You have ordered this cart already, with other contents than this page showed. Nothing was ordered again."
        ),
        "already-paid": _("This order is paid."),
        "already-cancelled": _("This order is cancelled."),
        "too-late": _("The payment deadline of this order is over, or too little time is left."),
        "payment-unavailable": _("Payment is not possible at the moment. Everything stays held until the deadline."),
    }
    return texts.get(refusal.code, refusal.message)


def show_refusal(request: HttpRequest, refusal: Refused, wanted: Sequence[Wanted]) -> HttpResponse:
    """Return a 409 with the refusal and, if prices or stock are the reason, a form for what is possible now."""
    # These two refusals concern products that exist. For other refusals no product is looked up.
    known = isinstance(refusal, PriceChanged | SoldOut)
    lines = {line.sku: line for line in wanted} if known else {}
    names = {product.sku: product for product in Product.objects.filter(sku__in=list(lines))}
    changes: list[dict[str, Any]] = []
    short: list[dict[str, Any]] = []
    if isinstance(refusal, PriceChanged):
        changes = [{**change, "product": names[change["sku"]]} for change in refusal.details["changes"]]
        for change in changes:
            change["seen"], change["now"] = Decimal(change["seen"]), Decimal(change["now"])
            line = lines[change["sku"]]
            lines[line.sku] = Wanted(line.sku, line.quantity, change["now"])
    if isinstance(refusal, SoldOut):
        short = [{**item, "product": names[item["sku"]]} for item in refusal.details["short"]]
        for item in short:
            line = lines.pop(item["sku"])
            if item["available"] > 0:
                lines[line.sku] = Wanted(line.sku, item["available"], line.unit_price)
    offer = [{"line": line, "product": names[line.sku]} for line in lines.values()] if changes or short else []
    context = {
        "refusal": refusal,
        "explanation": explain(refusal),
        "changes": changes,
        "short": short,
        "offer": offer,
        "offer_total": sum((line.quantity * line.unit_price for line in lines.values()), Decimal()),
        "ordered": refusal.details.get("order", ""),
    }
    return render(request, "shop/refused.html", context, status=HTTPStatus.CONFLICT)
