"""What the streams tell: how orders stand, and how much of each product is available."""

from collections.abc import Collection
from typing import Any

from django.db.models.functions import Now

from shop.catalogue.models import Product
from shop.live.feed import State
from shop.orders.models import Order
from shop.orders.reading import Reading

SHELF = 0
"""The stock is one thing: its key."""


def order_state(reading: Reading) -> dict[str, Any]:
    """Tell how an order stands: id, status, cancel_reason, payable, pay_by and now."""
    return {
        "id": reading.order.public_id,
        "status": reading.status,
        "cancel_reason": reading.order.cancel_reason,
        "payable": reading.payable,
        "pay_by": reading.order.pay_by.isoformat(),
        "now": reading.now.isoformat(),
    }


def orders(pks: Collection[int]) -> dict[int, State]:
    """Read how these orders stand, in one query, and change nothing."""
    found = Order.objects.filter(pk__in=pks).annotate(read_at=Now())
    return {order.pk: order_state(Reading(order, order.read_at)) for order in found}


def stock(_keys: Collection[int] = ()) -> dict[int, State]:
    """Read how much of each SKU is available."""
    return {SHELF: {product.sku: product.available for product in Product.objects.only("sku", "on_hand", "held")}}
