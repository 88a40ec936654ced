"""The page that explains why an order was refused and offers what can be ordered instead."""

from collections.abc import Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from shop.catalogue.models import Product
from shop.orders.placing import MOST_PIECES, Wanted
from shop.orders.refusals import Paused, PriceChanged, Refused, SoldOut, TooManyOfProduct, TooManyPieces


def explain(refusal: Refused) -> str:
    """Return the explanation of a refusal in the visitor's language."""
    if isinstance(refusal, TooManyPieces):
        return _(
            "You hold %(held)d pieces in unpaid orders, and at most %(limit)d are possible at a time. "
            "Pay or cancel an order first, or order fewer pieces."
        ) % {"held": refusal.details["held"], "limit": refusal.details["limit"]}
    if isinstance(refusal, Paused):
        return ngettext(
            "%(lapsed)d order of yours was not paid in time. You can order again at %(until)s UTC.",
            "%(lapsed)d orders of yours were not paid in time. You can order again at %(until)s UTC.",
            refusal.details["lapsed"],
        ) % {
            "lapsed": refusal.details["lapsed"],
            "until": date_format(refusal.details["until"], pgettext("date format", "j F Y, H:i:s")),
        }
    texts = {
        "bad-order": _(
            "This cannot be ordered. Choose at least one product. Every quantity must be a whole number from 1 to %d."
        )
        % MOST_PIECES,
        "price-changed": _("Prices have changed since you looked. Nothing was ordered."),
        "sold-out": _("Another buyer was faster, and not enough is left. Nothing was ordered."),
        "too-many-open-orders": _("You have too many unpaid orders. Pay or cancel one of them first."),
        "too-many-of-product": _(
            "You may hold only so many pieces of one product without paying. Pay or cancel an order first, "
            "or order fewer pieces."
        ),
        "cart-changed": _("Your cart has changed since this page was loaded. Nothing was ordered."),
        "idempotency-key-reused": _(
            "You have ordered this cart already, with other contents than this page showed. Nothing was ordered again."
        ),
        "already-paid": _("This order is paid."),
        "already-cancelled": _("This order is cancelled."),
        "too-late": _("The payment deadline of this order is over, or too little time is left."),
        "payment-unavailable": _("Payment is not possible at the moment. Everything stays held until the deadline."),
    }
    if refusal.code == "link-still-open":
        again = _(
            "An earlier payment link of this order is still open, perhaps in another window. Pay there, or try again "
            "in %d seconds."
        )
        return str(again % refusal.details["retry_after"])
    return texts.get(refusal.code, refusal.message)


def show_refusal(request: HttpRequest, refusal: Refused, wanted: Sequence[Wanted]) -> HttpResponse:
    """Return a 409 with the refusal and, if prices, stock or a limit is the reason, a form for what is possible now.

    A buyer who must wait gets a 429 with the seconds to wait.
    """
    # These refusals concern products that exist. For other refusals no product is looked up.
    known = isinstance(refusal, PriceChanged | SoldOut | TooManyOfProduct)
    lines = {line.sku: line for line in wanted} if known else {}
    names = {product.sku: product for product in Product.objects.filter(sku__in=list(lines))}
    changes: list[dict[str, Any]] = []
    short: list[dict[str, Any]] = []
    over: list[dict[str, Any]] = []
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
    if isinstance(refusal, TooManyOfProduct):
        over = [{**item, "product": names[item["sku"]]} for item in refusal.details["over"]]
        for item in over:
            line = lines.pop(item["sku"])
            if (room := item["limit"] - item["held"]) > 0:
                lines[line.sku] = Wanted(line.sku, room, line.unit_price)
    offer = [{"line": line, "product": names[line.sku]} for line in lines.values()]
    context = {
        "refusal": refusal,
        "explanation": explain(refusal),
        "changes": changes,
        "short": short,
        "over": over,
        "offer": offer,
        "offer_total": sum((line.quantity * line.unit_price for line in lines.values()), Decimal()),
        "ordered": refusal.details.get("order", ""),
    }
    if isinstance(refusal, Paused):
        page = render(request, "shop/refused.html", context, status=HTTPStatus.TOO_MANY_REQUESTS)
        page.headers["Retry-After"] = str(refusal.details["retry_after"])
        return page
    return render(request, "shop/refused.html", context, status=HTTPStatus.CONFLICT)
