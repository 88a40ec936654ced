"""A buyer's orders: placed, watched, paid, cancelled."""

from decimal import Decimal, InvalidOperation
from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from shop.limits import count_order
from shop.live.reading import order_state
from shop.orders.cancelling import cancel
from shop.orders.models import Reason, Status
from shop.orders.placing import MOST_LINES, Wanted, place
from shop.orders.reading import Reading, read, read_all
from shop.orders.refusals import AlreadyPaid, BadOrder, PaymentUnavailable, Refused
from shop.pages.cart import Cart
from shop.pages.refused import explain, show_refusal
from shop.payments.links import payment_link

PAGE = 50


@login_required
@require_POST
def place_order(request: HttpRequest) -> HttpResponse:
    """Place an order for every product with a quantity, and take these out of the cart; or say why not."""
    buyer = _buyer(request)
    count_order(request, buyer.pk)
    wanted: list[Wanted] = []
    try:
        wanted = _wanted(request)
        placed = place(buyer, wanted, idempotency_key=_form_key(request))
    except Refused as refusal:
        return show_refusal(request, refusal, wanted)
    Cart(request).take_out(line.sku for line in wanted)
    return redirect("order", placed.order.public_id)


@login_required
@require_safe
@never_cache
def mine(request: HttpRequest) -> HttpResponse:
    """List the buyer's newest orders."""
    readings, count = read_all(_buyer(request), limit=PAGE, offset=0)
    return render(request, "shop/orders.html", {"readings": readings, "count": count})


@login_required
@require_safe
@never_cache
def one(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one order, with its countdown while it is unpaid."""
    return render(request, "shop/order.html", {"reading": _reading(request, public_id)})


@require_safe
@never_cache
def status(request: HttpRequest, public_id: str) -> JsonResponse:
    """Tell the order's page how the order stands; asked where no stream comes through."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "sign in"}, status=HTTPStatus.UNAUTHORIZED)
    reading = _reading(request, public_id)
    return JsonResponse(order_state(reading))


@login_required
@require_POST
def cancel_order(request: HttpRequest, public_id: str) -> HttpResponse:
    """Cancel the order and show it."""
    order = _reading(request, public_id).order
    try:
        order = cancel(order.pk, reason=Reason.BUYER, who=f"buyer {order.buyer_id}")
    except AlreadyPaid as refusal:
        messages.error(request, explain(refusal))
    else:
        if order.status == Status.CLOSING:
            messages.info(request, _("The payment service has not answered yet. The order is being closed."))
    return redirect("order", public_id)


@login_required
@require_POST
def pay_order(request: HttpRequest, public_id: str) -> HttpResponse:
    """Send the buyer to where the order is paid."""
    try:
        return redirect(payment_link(_reading(request, public_id).order.pk))
    except PaymentUnavailable as refusal:
        messages.error(request, explain(refusal))
        context = {"reading": _reading(request, public_id)}
        return render(request, "shop/order.html", context, status=HTTPStatus.SERVICE_UNAVAILABLE)
    except Refused as refusal:
        messages.error(request, explain(refusal))
        return redirect("order", public_id)


@login_required
@require_POST
def order_again(request: HttpRequest, public_id: str) -> HttpResponse:
    """Put what was ordered into the cart once more, at today's prices and as far as it is there."""
    cart = Cart(request)
    gone = []
    for line in _reading(request, public_id).order.lines.all():
        possible = min(line.quantity, line.product.available)
        if not possible or not cart.put(line.product, possible):
            gone.append(line.product.shown_name)
    if gone:
        messages.error(request, _("Not in your cart, because it is sold out: %s") % ", ".join(gone))
    return redirect("cart")


def _form_key(request: HttpRequest) -> str | None:
    """Give what makes sending a form twice one order, if the form has it."""
    key = request.POST.get("form-key", "")[:64]
    return key if key.isalnum() else None


def _buyer(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("this page is for those who have signed in")
    return request.user


def _reading(request: HttpRequest, public_id: str) -> Reading:
    reading = read(_buyer(request), public_id)
    if reading is None:
        raise Http404
    return reading


def _wanted(request: HttpRequest) -> list[Wanted]:
    """Read the fields `quantity-<sku>` and `price-<sku>`; a price is the one that the page showed."""
    wanted = []
    for name, value in request.POST.items():
        sku = name.removeprefix("quantity-")
        if sku == name or str(value).strip() in ("", "0"):
            continue
        try:
            wanted.append(Wanted(sku, int(str(value)), _price(request.POST.get(f"price-{sku}", ""))))
        except (ValueError, InvalidOperation) as error:
            raise BadOrder("Give every quantity as a whole number.") from error
    if not 1 <= len(wanted) <= MOST_LINES:
        raise BadOrder("Choose at least one thing.")
    return wanted


def _price(text: str) -> Decimal:
    price = Decimal(text)
    if not price.is_finite() or not 0 <= price < Decimal("1e8"):
        raise ValueError(text)
    return price
