"""Filling the cart and going to the checkout with it."""

from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from shop.catalogue.listing import on_sale
from shop.catalogue.models import Product
from shop.orders.models import new_public_id
from shop.orders.placing import MOST_PIECES
from shop.pages.cart import Cart
from shop.pages.redirects import safe_next


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """Add so many of a product, as far as there are any; a script gets the new count, a browser goes on."""
    sku = request.POST.get("sku", "")
    if not sku.isprintable():  # a zero character, for one, cannot be asked for
        raise Http404
    product = get_object_or_404(Product, sku=sku)
    if not product.available:
        on_sale()  # lapses overdue holds, so that nobody is turned away by one
        product.refresh_from_db()
    cart = Cart(request)
    wished = cart.quantity(product.sku) + (_quantity(request.POST.get("quantity", "1")) or 1)
    possible = min(wished, product.available)
    added = bool(possible) and cart.put(product, possible)
    if added and possible == wished:
        text = _("In your cart: %(product)s.") % {"product": product.shown_name}
    elif added:
        text = _("Only %(count)d of %(product)s are left; your cart has them all.") % {
            "count": possible,
            "product": product.shown_name,
        }
    else:
        text = _("Your cart is full.") if possible else _("Sorry, %s is sold out.") % product.shown_name
    if "application/json" in request.headers.get("Accept", ""):
        status = HTTPStatus.OK if added else HTTPStatus.CONFLICT
        return JsonResponse({"count": cart.pieces, "message": text}, status=status)
    (messages.success if added else messages.error)(request, text)
    return redirect(safe_next(request, "cart"))


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def cart_page(request: HttpRequest) -> HttpResponse:
    """Show the cart, or change its quantities: the fields `quantity-<sku>`, and the button `remove`."""
    cart = Cart(request)
    rows = cart.rows()
    if request.method == "POST":
        removed = request.POST.get("remove", "")
        for row in rows:
            wished = _quantity(request.POST.get(f"quantity-{row.product.sku}", ""))
            if row.product.sku == removed:
                cart.take_out([removed])
            elif wished is not None and wished != row.quantity:
                cart.put(row.product, wished)
        return redirect("cart")
    return render(request, "shop/cart.html", {"rows": rows, "total": sum(row.total for row in rows)})


@login_required
@require_safe
@never_cache
def checkout(request: HttpRequest) -> HttpResponseBase:
    """Show what is about to be ordered, at today's prices. The form can be sent once: its key says which it is."""
    cart = Cart(request)
    rows = cart.rows()
    if not rows:
        return redirect("cart")
    for row in rows:
        if row.price_changed:
            cart.put(row.product, row.quantity)  # from now on this is the price that was seen
    context = {
        "rows": rows,
        "total": sum(row.total for row in rows),
        "short": any(row.short for row in rows),
        "form_key": new_public_id(),
    }
    return render(request, "shop/checkout.html", context)


def _quantity(text: str) -> int | None:
    """Read a whole number from 0 to the most that one order may have; None for anything else."""
    text = text.strip()
    return min(int(text), MOST_PIECES) if text.isascii() and text.isdigit() and len(text) < len("1000000") else None
