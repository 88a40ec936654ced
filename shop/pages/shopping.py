"""The pages for shopping: the products, the cart and the checkout."""

from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from shop.buyers.changing import ask_to_sign_in, changes
from shop.catalogue.models import Product
from shop.orders.placing import MOST_PIECES
from shop.orders.reading import ordered_with
from shop.orders.stock import on_sale
from shop.pages.accounts import safe_next
from shop.pages.cart import Cart
from shop.pages.orders import buyer_of, say_ordered


@require_safe
def products_page(request: HttpRequest) -> HttpResponse:
    """Return the page of all products with what is available."""
    return render(request, "shop/products.html", {"products": on_sale()})


@require_safe
def product_page(request: HttpRequest, sku: str) -> HttpResponse:
    """Return the page of one product, with a few others."""
    products = on_sale()
    for place, product in enumerate(products):
        if product.sku == sku:
            others = (products[place + 1 :] + products[:place])[:3]
            return render(request, "shop/product.html", {"product": product, "others": others})
    raise Http404


@changes("cart", signed_in=False)
def add(request: HttpRequest) -> HttpResponse:
    """Add a quantity of a product, as far as it is available. Return JSON to a script, and a redirect to a browser."""
    sku = request.POST.get("sku", "")
    if not sku.isprintable():  # PostgreSQL refuses a zero character, for example
        raise Http404
    product = get_object_or_404(Product, sku=sku)
    if not product.available:
        on_sale()  # lapses overdue holds, so that none of them turns a buyer away
        product.refresh_from_db()
    cart = Cart(request)
    wanted = cart.quantity(product.sku) + (_quantity(request.POST.get("quantity", "1")) or 1)
    possible = min(wanted, product.available)
    added = bool(possible) and cart.put(product, possible)
    if added and possible == wanted:
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
    """Return the cart's page; or change its quantities by the fields `quantity-<sku>` and the button `remove`.

    A form whose page shows an older cart changes nothing: it has all quantities, so it would undo the other change.
    """
    cart = Cart(request)
    rows = cart.rows()
    if request.method == "POST":
        if "signed-in" in request.POST and not request.user.is_authenticated:
            return ask_to_sign_in(request)
        if request.POST.get("cart-state", cart.state) != cart.state:
            messages.warning(request, _("Your cart has changed since that page was loaded. Please change it here."))
            return redirect("cart")
        removed = request.POST.get("remove", "")
        for row in rows:
            wanted = _quantity(request.POST.get(f"quantity-{row.product.sku}", ""))
            if row.product.sku == removed:
                cart.remove([removed])
            elif wanted is not None and wanted != row.quantity:
                cart.put(row.product, wanted)
        return redirect("cart")
    return render(request, "shop/cart.html", {"cart": cart, "rows": rows, "total": sum(row.total for row in rows)})


@login_required
@require_safe
@never_cache
def checkout(request: HttpRequest) -> HttpResponseBase:
    """Return the page of what is about to be ordered, at current prices. Its form has the cart's key: it orders once.

    With the query `form-key` of a form that could not be sent, return a redirect to its order, if there is one. So for
    a cart that was ordered and not emptied, because the process died in between: it could not be ordered again.
    """
    buyer, cart = buyer_of(request), Cart(request)
    ordered = ordered_with(buyer, request.GET.get("form-key", "")) or ordered_with(buyer, cart.key)
    if ordered is not None:
        cart.ordered(ordered)
        return say_ordered(request, ordered)
    rows = cart.rows()
    if not rows:
        return redirect("cart")
    for row in rows:
        if row.price_changed:
            cart.put(row.product, row.quantity)  # from now on this is the price that the buyer saw
    context = {
        "cart": cart,
        "rows": rows,
        "total": sum(row.total for row in rows),
        "short": any(row.short for row in rows),
    }
    return render(request, "shop/checkout.html", context)


def _quantity(text: str) -> int | None:
    """Return a whole number from 0 to the greatest quantity of one order; None if the text is none."""
    text = text.strip()
    return min(int(text), MOST_PIECES) if text.isascii() and text.isdigit() and len(text) < len("1000000") else None
