"""How this shop's orders lapse: everything that the package `lapse` needs to know of them."""

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import Case, F, Value, When
from django.db.models.functions import Now

from lapse.integrations.django import UnpaidOrders
from lapse.orders.gateway import Attempt, Ruling
from shop.orders.cancelled import after_cancelling
from shop.orders.models import UNPAID, Order, Reason, Status
from shop.payments.gateways import GATEWAYS
from shop.payments.query import open_attempts
from shop.payments.settle import apply_rulings

FIRST_REASON = Case(When(cancel_reason="", then=Value(Reason.EXPIRED.value)), default=F("cancel_reason"))
"""Who began to cancel an order keeps the reason, even if the timer finishes it."""


class ShopOrders(UnpaidOrders[Order]):
    """Unpaid orders of the shop."""

    model = Order
    key = "public_id"
    unpaid = UNPAID
    deadline = "pay_by"
    closing: ClassVar = {"status": Status.CLOSING, "cancel_reason": FIRST_REASON}
    lapsed: ClassVar = {"status": Status.CANCELLED, "cancel_reason": FIRST_REASON, "cancelled_at": Now()}
    gateways = GATEWAYS

    def on_lapse(self, orders: Sequence[Order]) -> None:
        """Give the stock back, with the trail and the figures, in the transaction that cancelled the orders."""
        after_cancelling(orders, who="timer")

    def open_attempts(self, orders: Sequence[Order]) -> Sequence[Attempt]:
        """Name the attempts that may still be paid; they are closed at their gateway first."""
        return open_attempts(orders)

    def on_ruling(self, order: Order, rulings: Sequence[Ruling]) -> bool:
        """Write down what the gateways said. Money that they found pays the order."""
        return apply_rulings(order, rulings)
