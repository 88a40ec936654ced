"""The transition from unpaid to paid."""

from django.db.models.functions import Now

from lapse.integrations.django import unpaid_orders
from shop.orders import audit_trail, stock
from shop.orders.models import UNPAID, Order, Status
from shop.statistics.days import count
from shop.statistics.models import Event


def pay(order: Order, *, who: str) -> bool:
    """Make an unpaid order paid, and sell what it holds. False, and nothing done, if it is not unpaid any more.

    To be called in a transaction that has locked the order. `order` has the new values afterwards.
    """
    paid = Order.objects.filter(UNPAID, pk=order.pk).update(status=Status.PAID, paid_at=Now(), cancel_reason="")
    order.refresh_from_db()
    if not paid or order.paid_at is None:
        return False
    stock.consume([order.pk])
    audit_trail.note([order], "paid", who)
    unpaid_orders().disarm(order)
    count([(order.paid_at, Event.PAID, order.total)])
    return True
