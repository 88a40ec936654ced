"""The pages of a buyer's orders: placed, shown with their countdown, paid, cancelled."""

from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from shop.buyers.changing import changes
from shop.limits import count_order
from shop.live.streams import order_state
from shop.orders.events import Actor, ActorKind
from shop.orders.history import for_buyer
from shop.orders.models import Order, Reason, Status
from shop.orders.placing import MOST_LINES, Wanted, place
from shop.orders.reading import Reading, fresh, ordered_with, read, read_all
from shop.orders.refusals import AlreadyPaid, BadOrder, CartChanged, PaymentUnavailable, Refused
from shop.orders.transitions import cancel
from shop.pages.cart import Cart
from shop.pages.refused import explain, show_refusal
from shop.payments.development import pay_now
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from shop.payments.order_money import money_of

PAGE = 50


@changes("checkout", keep=["form-key"])
def place_order(request: HttpRequest) -> HttpResponse:
    """Place an order for every product with a quantity and return a redirect to it, or the page that says why not.

    A cart is ordered once, from however many tabs and devices; the ordered products are removed from it. A form whose
    page shows an older cart is refused.
    """
    buyer = buyer_of(request)
    count_order(request, buyer.pk)
    cart = Cart(request)  # read before the orders: a cart that has its next key by then has its order as well
    key = request.POST.get("form-key")
    wanted: list[Wanted] = []
    try:
        wanted = _wanted(request)
        if key is not None:
            before = ordered_with(buyer, key)
            if before is None:
                _compare(request, cart)
            else:
                cart.ordered(before)  # again, because the process that placed it may have died before
        placed = place(buyer, wanted, idempotency_key=key)
    except Refused as refusal:
        return show_refusal(request, refusal, wanted)
    if key is None:
        cart.remove(line.sku for line in wanted)
    else:
        cart.ordered(placed.order)
    return redirect("order", placed.order.public_id) if placed.new else say_ordered(request, placed.order)


@login_required
@require_safe
@never_cache
def my_orders(request: HttpRequest) -> HttpResponse:
    """Return the list of the buyer's newest orders."""
    readings, count = read_all(buyer_of(request), limit=PAGE, offset=0)
    return render(request, "shop/orders.html", {"readings": readings, "count": count})


@login_required
@require_safe
@never_cache
def show(request: HttpRequest, public_id: str) -> HttpResponse:
    """Return the page of one order, with its countdown while it is unpaid."""
    return render(request, "shop/order.html", _shown(request, public_id))


@require_safe
@never_cache
def status(request: HttpRequest, public_id: str) -> JsonResponse:
    """Return the state of the order: its page polls it while no event stream can be opened."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "sign in"}, status=HTTPStatus.UNAUTHORIZED)
    reading = _reading(request, public_id)
    return JsonResponse(order_state(reading))


@changes("order")
def cancel_order(request: HttpRequest, public_id: str) -> HttpResponse:
    """Cancel the order and return a redirect to its page."""
    order = _reading(request, public_id).order
    try:
        order = cancel(order.pk, reason=Reason.BUYER, who=Actor(ActorKind.BUYER, str(order.buyer_id)))
    except AlreadyPaid as refusal:
        messages.error(request, explain(refusal))
    else:
        if order.status == Status.CLOSING:
            messages.info(request, _("The payment service has not answered yet. The order is being closed."))
    return redirect("order", public_id)


@changes("order")
def pay_order(request: HttpRequest, public_id: str) -> HttpResponse:
    """Return a redirect to the address where the order is paid."""
    try:
        return redirect(payment_link(_reading(request, public_id).order.pk))
    except PaymentUnavailable as refusal:
        messages.error(request, explain(refusal))
        context = _shown(request, public_id)
        return render(request, "shop/order.html", context, status=HTTPStatus.SERVICE_UNAVAILABLE)
    except Refused as refusal:
        messages.error(request, explain(refusal))
        return redirect("order", public_id)


@changes("order")
def order_again(request: HttpRequest, public_id: str) -> HttpResponse:
    """Put the order's products into the cart again, as far as they are available, and return a redirect to it."""
    cart = Cart(request)
    missing = []
    for line in _reading(request, public_id).order.lines.all():
        possible = min(line.quantity, line.product.available)
        if not possible or not cart.put(line.product, possible):
            missing.append(line.product.shown_name)
    if missing:
        messages.error(request, _("Not in your cart, because it is sold out: %s") % ", ".join(missing))
    return redirect("cart")


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def development_pay(request: HttpRequest, reference: str) -> HttpResponse:
    """Return the development gateway's page: the amount and one button, which pays at once while there is time.

    The page belongs to the gateway, so no sign-in is needed: the attempt's unguessable number opens it.
    """
    attempt = PaymentAttempt.objects.select_related("order").filter(reference=reference).first()
    # The page pays without money, so it exists only in a shop that has chosen this gateway.
    if attempt is None or settings.SHOP_GATEWAY != "development" or attempt.gateway != "development":
        raise Http404
    refused = False
    if request.method == "POST":
        if attempt.paid is not None or pay_now(reference):
            return redirect("order", attempt.order.public_id)
        refused = True
    context = {"attempt": attempt, "reading": fresh(attempt.order_id), "refused": refused}
    status = HTTPStatus.CONFLICT if refused else HTTPStatus.OK
    return render(request, "shop/development_pay.html", context, status=status)


def say_ordered(request: HttpRequest, order: Order) -> HttpResponse:
    """Return a redirect to the order that this cart has become, where the buyer reads that it was ordered before."""
    messages.info(request, _("You have ordered this cart already. This is the order. Nothing was ordered again."))
    return redirect("order", order.public_id)


def _compare(request: HttpRequest, cart: Cart) -> None:
    """Raise CartChanged if the form is not of this cart, or if its page shows the cart as it was before a change."""
    sent = request.POST.get("form-key"), request.POST.get("cart-state")
    if not cart.key or sent != (cart.key, cart.state):
        raise CartChanged("The cart has changed since the page was loaded.")


def buyer_of(request: HttpRequest) -> User:
    """Return the user of a page that needs a sign-in."""
    if not isinstance(request.user, User):
        raise TypeError("this page is for users who have signed in")
    return request.user


def _reading(request: HttpRequest, public_id: str) -> Reading:
    reading = read(buyer_of(request), public_id)
    if reading is None:
        raise Http404
    return reading


def _shown(request: HttpRequest, public_id: str) -> dict[str, Any]:
    """Return what the order's page shows."""
    reading = _reading(request, public_id)
    return {"reading": reading, "money": money_of(reading.order), "history": for_buyer(reading.order)}


def _wanted(request: HttpRequest) -> list[Wanted]:
    """Return the lines in the fields `quantity-<sku>` and `price-<sku>`. The price is the one that the page showed."""
    wanted = []
    for name, value in request.POST.items():
        sku = name.removeprefix("quantity-")
        if sku == name or str(value).strip() in ("", "0"):
            continue
        try:
            wanted.append(Wanted(sku, int(str(value)), _price(request.POST.get(f"price-{sku}", ""))))
        except (ValueError, InvalidOperation) as error:
            raise BadOrder("Enter every quantity as a whole number.") from error
    if not 1 <= len(wanted) <= MOST_LINES:
        raise BadOrder("Choose at least one product.")
    return wanted


def _price(text: str) -> Decimal:
    price = Decimal(text)
    if not price.is_finite() or not 0 <= price < Decimal("1e8"):
        raise ValueError(text)
    return price
