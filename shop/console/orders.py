"""Orders as the merchant sees them: searched, shown with their history, cancelled by hand."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from lapse.integrations.django import unpaid_orders
from shop.buyers.changing import changes
from shop.console.permissions import CANCEL_ORDERS, VIEW_ORDERS, staff_with
from shop.console.search import Search, find, id_in
from shop.console.templatetags.console import word
from shop.database import database_now
from shop.orders.events import Actor, ActorKind, What
from shop.orders.history import for_merchant
from shop.orders.models import Order, Reason, Reservation, Status
from shop.orders.refusals import AlreadyPaid
from shop.orders.transitions import cancel_for_shop


@require_safe
@staff_with(VIEW_ORDERS)
def search(request: HttpRequest) -> HttpResponse:
    """Return a page of the orders that match the search."""
    wanted = Search.read(request.GET)
    page = find(wanted, before=_number(request, "before"), after=_number(request, "after"))
    context = {
        "search": wanted,
        "page": page,
        "due_before": database_now() - unpaid_orders().grace,
        "statuses": Status.choices,
        "reasons": Reason.choices,
    }
    return render(request, "console/orders.html", context)


@require_safe
@staff_with(VIEW_ORDERS)
def show(request: HttpRequest, public_id: str) -> HttpResponse:
    """Return the page of one order as it is: looking at an order here does not lapse it."""
    order = get_object_or_404(
        Order.objects.select_related("buyer").prefetch_related("lines__product", "attempts", "audit_trail"),
        public_id=public_id,
    )
    due_before = database_now() - unpaid_orders().grace
    unpaid = order.status in (Status.AWAITING_PAYMENT, Status.CLOSING)
    context = {
        "order": order,
        "history": for_merchant(order),
        "reservations": Reservation.objects.filter(line__order=order).select_related("line__product").order_by("id"),
        "unpaid": unpaid,
        "overdue": unpaid and order.pay_by <= due_before,
        "due_before": due_before,
        "extendable": unpaid and order.cancel_reason in ("", Reason.EXPIRED),
        "revivable": order.status == Status.CANCELLED and order.cancel_reason == Reason.EXPIRED,
    }
    return render(request, "console/order.html", context)


@changes("console-order")
@staff_with(VIEW_ORDERS, CANCEL_ORDERS)
def cancel_by_hand(request: HttpRequest, public_id: str) -> HttpResponse:
    """Cancel an unpaid order and return to its page with what happened. The first transition of an order wins."""
    order = get_object_or_404(Order, public_id=public_id)
    who = Actor(ActorKind.MERCHANT, str(request.user.pk))
    try:
        order = cancel_for_shop(order, who=who)
    except AlreadyPaid:
        messages.error(request, gettext("This order is paid. Nothing was changed."))
        return redirect("console-order", public_id)
    if order.status == Status.CLOSING:
        text = gettext("The payment service has not said yet whether the order was paid. The order is being closed.")
        messages.warning(request, text)
    elif order.audit_trail.filter(what=What.CANCELLED, actor=who.kind, actor_id=who.id).exists():
        messages.success(request, gettext("The order is cancelled and its stock is released."))
    else:
        reason = {"reason": word(order.cancel_reason)}
        messages.info(request, gettext("The order was already cancelled: %(reason)s.") % reason)
    return redirect("console-order", public_id)


def _number(request: HttpRequest, name: str) -> int | None:
    """Return the id in a field of the query, or None."""
    return id_in(request.GET.get(name, ""))
