"""Cancelling by the buyer or the merchant. Who begins first keeps the reason."""

from lapse.integrations.django import unpaid_orders
from lapse.orders import Outcome
from shop.orders.models import Order, Reason, Status
from shop.orders.refusals import AlreadyPaid


def cancel(order_pk: int, *, reason: Reason, who: str) -> Order:
    """Cancel an unpaid order, make its stock available and return the order; leave alone one that is cancelled.

    An attempt to pay it is closed at its gateway first. If the gateway does not answer, the order stays `closing` and
    holds its stock: repeat the call, or the timer finishes it. Not to be called in a transaction. Raises AlreadyPaid.
    """
    order = Order.objects.get(pk=order_pk)
    unpaid_orders().cancel([order], by=who, reason=reason)
    order.refresh_from_db()
    if order.status == Status.PAID:
        raise AlreadyPaid("This order is paid.", paid_at=order.paid_at)
    return order


def cancel_for_shop(order: Order, *, who: str) -> Order:
    """Cancel an unpaid order for the shop; one whose time is over expires, whoever asks for it.

    Returns and raises what `cancel` does. Not to be called in a transaction: a gateway may be asked.
    """
    outcome = unpaid_orders().lapse([order.public_id])[order.public_id].outcome
    # Both mean that the order is due: another process is at work on it, or the gateway did not answer.
    due = outcome in (Outcome.LOCKED, Outcome.UNANSWERED)
    return cancel(order.pk, reason=Reason.EXPIRED if due else Reason.MERCHANT, who=who)
