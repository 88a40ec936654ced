"""What the shop tells others about its orders, by the outbox: in the transaction of the change."""

from collections.abc import Iterable

from lapse.integrations.django.outbox import publish_many
from shop.orders.models import Order


def announce(what: str, orders: Iterable[Order], **more: object) -> None:
    """Write a message of the type `order.<what>` about each order: one statement, in the caller's transaction.

    `more` is added to the data. Without an endpoint that wants the type, the orders are not read.
    """
    publish_many(f"order.{what}", ((order.public_id, _data(order) | more) for order in orders))


def _data(order: Order) -> dict[str, object]:
    """Return what a receiver reads about an order. The buyer's address is not among it."""
    return {
        "order": order.public_id,
        "status": order.status,
        "cancel_reason": order.cancel_reason or None,
        "total": order.total,
        "currency": "CNY",
        "placed_at": order.placed_at,
        "pay_by": order.pay_by,
        "paid_at": order.paid_at,
        "cancelled_at": order.cancelled_at,
    }
