"""Orders as the merchant sees them: found, read with all that happened to them, cancelled by hand."""

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from shop.console.merchants import CANCEL_ORDERS, VIEW_ORDERS
from shop.console.permissions import staff_with
from shop.console.search import Search, find
from shop.console.templatetags.console import word
from shop.orders.cancelling import cancel_for_shop
from shop.orders.clock import database_now
from shop.orders.models import UNPAID, AuditEntry, Order, Reason, Reservation, Status
from shop.orders.refusals import AlreadyPaid

LARGEST_ID = 2**63 - 1


@require_safe
@staff_with(VIEW_ORDERS)
def found(request: HttpRequest) -> HttpResponse:
    """List the orders that are looked for, a page of them."""
    search = Search.read(request.GET)
    page = find(search, before=_number(request, "before"), after=_number(request, "after"))
    context = {
        "search": search,
        "page": page,
        "now": database_now(),
        "statuses": Status.choices,
        "reasons": Reason.choices,
    }
    return render(request, "console/orders.html", context)


@require_safe
@staff_with(VIEW_ORDERS)
def one(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one order as it stands: looking does not make it lapse."""
    order = get_object_or_404(
        Order.objects.select_related("buyer").prefetch_related("lines__product", "attempts", "trail"),
        public_id=public_id,
    )
    now = database_now()
    unpaid = order.status in (Status.AWAITING_PAYMENT, Status.CLOSING)
    context = {
        "order": order,
        "reservations": Reservation.objects.filter(line__order=order).select_related("line__product").order_by("id"),
        "unpaid": unpaid,
        "overdue": unpaid and order.pay_by <= now,
        "now": now,
    }
    return render(request, "console/order.html", context)


@require_POST
@staff_with(VIEW_ORDERS, CANCEL_ORDERS)
def cancel_by_hand(request: HttpRequest, public_id: str) -> HttpResponse:
    """Cancel an unpaid order and say what happened: the first transition wins, whoever made it."""
    order = get_object_or_404(Order, public_id=public_id)
    who = f"merchant {request.user.pk}"
    try:
        order = cancel_for_shop(order, who=who)
    except AlreadyPaid:
        messages.error(request, gettext("This order is paid. Nothing was changed."))
        return redirect("console-order", public_id)
    if order.status == Status.CLOSING:
        text = gettext("The payment service has not said yet whether the order was paid. It is being closed.")
        messages.warning(request, text)
    elif AuditEntry.objects.filter(order=order, who=who, what__startswith="cancelled").exists():
        messages.success(request, gettext("The order is cancelled and its stock is back."))
    else:
        reason = {"reason": word(order.cancel_reason)}
        messages.info(request, gettext("The order had been cancelled before you: %(reason)s.") % reason)
    return redirect("console-order", public_id)


def holding(limit: int = 500) -> dict[int, list[tuple[Order, int]]]:
    """Give the unpaid orders that hold each product, with how many pieces: by the product's id, oldest first."""
    holders: dict[int, list[tuple[Order, int]]] = {}
    for order in Order.objects.filter(UNPAID).order_by("pay_by").prefetch_related("lines")[:limit]:
        for line in order.lines.all():
            holders.setdefault(line.product_id, []).append((order, line.quantity))
    return holders


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    return min(int(text), LARGEST_ID) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004


def merchant_of(request: HttpRequest) -> User:
    """Give the user behind a page of the console."""
    if not isinstance(request.user, User):
        raise TypeError("this page is for those who have signed in")
    return request.user
