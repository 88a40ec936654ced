"""How this shop's orders lapse: everything that the package `lapse` needs to know about them."""

from collections.abc import Sequence
from typing import ClassVar

from django.db.models.functions import Now

from lapse.integrations.django import UnpaidOrders
from lapse.orders import TIMER, Attempt, OrderBatch, Ruling
from shop.orders import stock
from shop.orders.models import UNPAID, AuditEntry, Order, Status
from shop.payments.gateways import GATEWAYS
from shop.payments.query import open_attempts
from shop.payments.settle import apply_rulings
from shop.statistics.days import count


class ShopOrders(UnpaidOrders[Order]):
    """Unpaid orders of the shop. Who begins to cancel an order keeps the reason, even if the timer finishes it."""

    model = Order
    key = "public_id"
    unpaid = UNPAID
    deadline = "pay_by"
    closing: ClassVar = {"status": Status.CLOSING}
    reopened: ClassVar = {"status": Status.AWAITING_PAYMENT}
    lapsed: ClassVar = {"status": Status.CANCELLED, "cancelled_at": Now()}
    reason_field = "cancel_reason"
    gateways = GATEWAYS

    def on_lapse(self, orders: OrderBatch[Order]) -> None:
        """Release the stock, write the audit trail and count: a few statements for any number of orders."""
        stock.release([order.pk for order in orders])
        AuditEntry.record(orders, f"cancelled: {orders.reason}", orders.actor)
        count((order.cancelled_at, orders.reason, order.total) for order in orders if order.cancelled_at is not None)

    def on_closing(self, orders: OrderBatch[Order]) -> None:
        """Write into the audit trail who began to cancel. The timer's beginning needs no entry."""
        if orders.actor != TIMER:
            AuditEntry.record(orders, f"closing: {orders.reason}", orders.actor)

    def on_reopened(self, orders: OrderBatch[Order]) -> None:
        """Write into the audit trail that these orders can be paid again."""
        AuditEntry.record(orders, "open again: more time", orders.actor)

    def open_attempts(self, orders: Sequence[Order]) -> Sequence[Attempt]:
        """Return the attempts that may still be paid. They are closed at their gateway first."""
        return open_attempts(orders)

    def on_ruling(self, order: Order, rulings: Sequence[Ruling]) -> bool:
        """Record the gateways' rulings and return True if a payment that they found has paid the order."""
        return apply_rulings(order, rulings)
