"""The addresses of the streams."""

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from shop.limits import network_of
from shop.live import reading
from shop.live.stream import EventStream, Kind
from shop.orders.models import UNPAID, Order
from shop.orders.reading import own

MOST_ORDERS = 50
"""The most orders of one stream: as many as the list of orders shows."""


@require_safe
def order_events(request: HttpRequest, public_id: str) -> HttpResponse:
    """Tell the buyer how this order stands, now and at each change; a 404 for everybody else."""
    buyer = _buyer(request)
    pk = own(buyer, public_id)
    if pk is None:
        raise Http404
    return _orders(buyer, [pk])


@require_safe
def my_orders_events(request: HttpRequest) -> HttpResponse:
    """Tell the buyer how the newest unpaid orders stand, now and at each change."""
    buyer = _buyer(request)
    newest = Order.objects.filter(UNPAID, buyer=buyer).order_by("-id")[:MOST_ORDERS]
    return _orders(buyer, list(newest.values_list("pk", flat=True)))


@require_safe
def stock_events(request: HttpRequest) -> HttpResponse:
    """Tell anybody how much of each product is available, now and at each change."""
    return EventStream(Kind.STOCK, reading.stock(), owner=f"address {network_of(request)}")


def _orders(buyer: User, pks: list[int]) -> EventStream:
    return EventStream(Kind.ORDERS, reading.orders(pks), owner=f"buyer {buyer.pk}")


def _buyer(request: HttpRequest) -> User:
    """Give who has signed in. To a stranger no stream exists."""
    if not isinstance(request.user, User):
        raise Http404
    return request.user
