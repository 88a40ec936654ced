"""The event streams: their views, the states that they carry, and the form of their events.

The response of a view is the first event of a stream. `shop.asgi` keeps it open and sends further events. Any other
server sends the first event and ends; the browser then asks again by itself, so that the page works there too.
"""

import json
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from shop.catalogue.models import Product
from shop.limits import network_of
from shop.live.feed import State
from shop.orders.models import UNPAID, Order
from shop.orders.reading import Reading, own
from shop.payments.order_money import money_of

ALL_STOCK = 0
"""The key of the stock, which is one state."""

MOST_ORDERS = 50
"""The greatest number of orders in one stream: as many as the list of orders shows."""


class Kind(Enum):
    """The subject of a stream. The value is the name of its events."""

    ORDERS = "order"
    STOCK = "stock"


class EventStream(HttpResponse):
    """A stream of `kind`. `first` has the states that are sent at once, by their keys.

    `owner` is the buyer or the address for whom the open stream is counted.
    """

    def __init__(self, kind: Kind, first: Mapping[int, State], *, owner: str) -> None:
        begin = b"retry: 2000\n\n"  # milliseconds after which a browser opens an ended stream again
        super().__init__(
            begin + b"".join(event(kind, state) for state in first.values()),
            content_type="text/event-stream; charset=utf-8",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self.kind = kind
        self.first = first
        self.owner = owner


def event(kind: Kind, state: State) -> bytes:
    """Return the bytes of one event."""
    return f"event: {kind.value}\ndata: {json.dumps(state, separators=(',', ':'))}\n\n".encode()


@require_safe
def order_events(request: HttpRequest, public_id: str) -> HttpResponse:
    """Return a stream of one order's states: now and after each change. Other users get a 404."""
    buyer = _buyer(request)
    pk = own(buyer, public_id)
    if pk is None:
        raise Http404
    return _orders(buyer, [pk])


@require_safe
def my_orders_events(request: HttpRequest) -> HttpResponse:
    """Return a stream of the states of the buyer's newest unpaid orders: now and after each change."""
    buyer = _buyer(request)
    newest = Order.objects.filter(UNPAID, buyer=buyer).order_by("-id")[:MOST_ORDERS]
    return _orders(buyer, list(newest.values_list("pk", flat=True)))


@require_safe
def stock_events(request: HttpRequest) -> HttpResponse:
    """Return a stream of how much of each product is available: now and after each change."""
    return EventStream(Kind.STOCK, read_stock(), owner=f"address {network_of(request)}")


def order_state(reading: Reading) -> dict[str, Any]:
    """Return the state of an order: id, status, cancel_reason, payable, pay_by, money and now.

    `money` is another text whenever a sentence about the order's money is another one.
    """
    return {
        "id": reading.order.public_id,
        "status": reading.status,
        "cancel_reason": reading.order.cancel_reason,
        "payable": reading.payable,
        "pay_by": reading.order.pay_by.isoformat(),
        "money": money_of(reading.order).version,
        "now": reading.now.isoformat(),
    }


def read_orders(pks: Collection[int]) -> dict[int, State]:
    """Return the states of these orders by their primary keys. Nothing is changed."""
    found = Order.objects.filter(pk__in=pks).annotate(read_at=Now()).prefetch_related("attempts")
    return {order.pk: order_state(Reading(order, order.read_at)) for order in found}


def read_stock(_keys: Collection[int] = ()) -> dict[int, State]:
    """Return how much of each SKU is available, as one state."""
    products = Product.objects.only("sku", "on_hand", "held")
    return {ALL_STOCK: {product.sku: product.available for product in products}}


def _orders(buyer: User, pks: list[int]) -> EventStream:
    return EventStream(Kind.ORDERS, read_orders(pks), owner=f"buyer {buyer.pk}")


def _buyer(request: HttpRequest) -> User:
    """Return the signed-in user. For other visitors the stream does not exist."""
    if not isinstance(request.user, User):
        raise Http404
    return request.user
