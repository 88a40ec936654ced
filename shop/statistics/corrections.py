"""Refunds and reinstatements: each is a row and is counted on its own day. No day that is over ever changes.

A refunded order stays counted as paid on the day of its payment. A reinstated order stays counted as cancelled on the
day of its cancel. So the figures of a past day stay what the merchant read on that day. What is left is a difference:
paid less refunded, cancelled less reinstated. The rows of this module prove the figures, because they keep what the
order's own row forgets: the cancel before a reinstatement, and the time of each part of a refund.
"""

from datetime import datetime
from decimal import Decimal

from shop.database import database_now
from shop.statistics.days import count
from shop.statistics.models import Event, Refund, Reinstatement


def record_refund(order_pk: int, *, reference: str, amount: Decimal) -> None:
    """Record that `amount` yuan of a paid order went back to the buyer, by the attempt with this reference.

    To be called once for each part, last in the transaction that books the refund. For money that had paid an order
    only: money that no order took was never counted as paid, so its refund is not counted either.
    """
    at = database_now()
    Refund.objects.create(order_id=order_pk, reference=reference, amount=amount, at=at)
    count([(at, Event.REFUNDED, amount)])


def record_reinstatement(order_pk: int, *, total: Decimal, reason: str, cancelled_at: datetime) -> None:
    """Record that a cancelled order is reinstated; `reason` and `cancelled_at` are those of its cancel.

    To be called in the transaction that reinstates the order, after its stock is reserved and before its payment is
    counted.
    """
    at = database_now()
    Reinstatement.objects.create(order_id=order_pk, reason=reason, cancelled_at=cancelled_at, at=at)
    count([(at, Event.REINSTATED, total)])
