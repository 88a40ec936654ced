"""What follows when orders have just been cancelled, in the same transaction, by whomever."""

from collections.abc import Sequence
from itertools import groupby

from shop.orders import audit_trail, stock
from shop.orders.models import Order
from shop.statistics.counting import count


def after_cancelling(orders: Sequence[Order], *, who: str) -> None:
    """Give the stock back, write the trail and change the figures: a handful of statements for any number.

    `orders` are locked by the caller's transaction, were unpaid before it, and have their new values.
    """
    stock.release([order.pk for order in orders])
    by_reason = sorted(orders, key=lambda order: order.cancel_reason)
    for reason, group in groupby(by_reason, key=lambda order: order.cancel_reason):
        audit_trail.note(group, f"cancelled: {reason}", who)
    count((order.cancelled_at, order.cancel_reason, order.total) for order in orders if order.cancelled_at is not None)
