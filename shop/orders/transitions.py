"""The transitions of an order: to paid, to cancelled by its buyer or by the shop, and from expired back to unpaid.

An order whose deadline is over is cancelled by `shop.lapsing`, for a worker, the sweep and a reader alike.
"""

from django.db.models.functions import Now

from lapse.integrations.django import unpaid_orders
from lapse.orders import Outcome
from shop.orders import stock
from shop.orders.events import Actor, What
from shop.orders.messages import announce
from shop.orders.models import UNPAID, AuditEntry, Order, Reason, Reservation, Status
from shop.orders.refusals import AlreadyPaid
from shop.statistics.corrections import record_reinstatement
from shop.statistics.days import count
from shop.statistics.models import Event


def pay(order: Order, *, who: Actor | str, reason: str = "") -> bool:
    """Make an unpaid order paid, sell what it holds and return True; return False if the order is no longer unpaid.

    To be called in a transaction that has locked the order. `order` has the new values afterwards.
    """
    paid = Order.objects.filter(UNPAID, pk=order.pk).update(status=Status.PAID, paid_at=Now(), cancel_reason="")
    order.refresh_from_db()
    if not paid or order.paid_at is None:
        return False
    stock.consume([order.pk])
    AuditEntry.record([order], What.PAID, who, reason=reason)
    announce("paid", [order])
    count([(order.paid_at, Event.PAID, order.total)])
    return True


def reinstate(order: Order) -> bool:
    """Hold the stock of an expired order again, for late money or a merchant, and return whether all is held.

    The order is unpaid afterwards, with new reservations. Who knows why writes the entry of the audit trail. An order
    that its buyer or the shop has cancelled is not wanted any more: its money is refunded, and it cannot be revived. To
    be called in a transaction that has locked the order, and that rolls back if this returns False.
    """
    if order.cancelled_at is None or order.cancel_reason != Reason.EXPIRED:
        return False
    lines = list(order.lines.select_related("product"))
    reserved = stock.reserve({line.product.sku: line.quantity for line in lines})
    if not all(line.held for line in reserved.values()):
        return False
    Reservation.objects.bulk_create(Reservation(line=line) for line in lines)
    Order.objects.filter(pk=order.pk).update(status=Status.AWAITING_PAYMENT, cancel_reason="", cancelled_at=None)
    record_reinstatement(order.pk, total=order.total, reason=order.cancel_reason, cancelled_at=order.cancelled_at)
    order.status = Status.AWAITING_PAYMENT
    return True


def cancel(order_pk: int, *, reason: Reason, who: Actor | str) -> Order:
    """Cancel an unpaid order, release its stock and return the order; a cancelled order stays as it is.

    An open payment attempt is closed at its gateway first. If the gateway does not answer, the order stays `closing`
    and holds its stock: repeat the call, or the timer finishes it. The reason that came first is kept. Not to be called
    in a transaction. Raises AlreadyPaid.
    """
    order = Order.objects.get(pk=order_pk)
    unpaid_orders().cancel([order], by=str(who), reason=reason)
    order.refresh_from_db()
    if order.status == Status.PAID:
        raise AlreadyPaid("This order is paid.", paid_at=order.paid_at)
    return order


def cancel_for_shop(order: Order, *, who: Actor | str) -> Order:
    """Cancel an unpaid order for the shop. An overdue order expires, and its reason says so.

    Returns and raises what `cancel` does. Not to be called in a transaction: a gateway may be queried.
    """
    outcome = unpaid_orders().lapse([order.public_id])[order.public_id].outcome
    # Both outcomes mean that the order is due: another process is cancelling it, or the gateway did not answer.
    due = outcome in (Outcome.LOCKED, Outcome.UNANSWERED)
    return cancel(order.pk, reason=Reason.EXPIRED if due else Reason.MERCHANT, who=who)
