"""Cancelling by the buyer or the merchant. The first who begins wins and keeps the reason."""

from django.db import transaction
from django.db.models.functions import Now

from lapse.integrations.django import unpaid_orders
from lapse.orders.gateway import Attempt
from lapse.orders.port import Outcome
from shop.orders import audit_trail
from shop.orders.cancelled import after_cancelling
from shop.orders.models import UNPAID, Order, Reason, Status
from shop.orders.refusals import AlreadyPaid
from shop.payments.gateways import close
from shop.payments.models import OPEN, PaymentAttempt
from shop.payments.query import open_attempts
from shop.payments.settle import apply_rulings


def cancel(order_pk: int, *, reason: Reason, who: str) -> Order:
    """Cancel an unpaid order and give its stock back; do nothing to one that is cancelled already.

    An attempt to pay it is closed at its gateway first. If the gateway does not answer, the order stays `closing`,
    holding its stock: repeat the call, or its timer will. Not to be called in a transaction. Raises AlreadyPaid.
    """
    order, attempts = _begin(order_pk, reason, who)
    if attempts:
        rulings = [close(attempt) for attempt in attempts]
        with transaction.atomic(durable=True):
            order = _locked(order_pk)
            # Heard whatever has become of the order meanwhile: money must not be swallowed.
            apply_rulings(order, rulings)
            if not PaymentAttempt.objects.filter(OPEN, order=order).exists():
                _finish(order, reason, who)
    if order.status == Status.PAID:
        raise AlreadyPaid("This order is paid.", paid_at=order.paid_at)
    return order


def cancel_for_shop(order: Order, *, who: str) -> Order:
    """Cancel an unpaid order because the shop says so; one whose time is over expires, whoever asks.

    Answers and raises as `cancel` does. Not to be called in a transaction: a gateway may be asked.
    """
    outcome = unpaid_orders().lapse([order.public_id])[order.public_id].outcome
    # Both mean that it is due: another process is at work on it, or the gateway did not answer.
    due = outcome in (Outcome.LOCKED, Outcome.UNANSWERED)
    return cancel(order.pk, reason=Reason.EXPIRED if due else Reason.MERCHANT, who=who)


@transaction.atomic(durable=True)
def _begin(order_pk: int, reason: Reason, who: str) -> tuple[Order, list[Attempt]]:
    """Cancel at once where no attempt is open, else mark the order as closing and name the attempts."""
    order = _locked(order_pk)
    if order.status not in (Status.AWAITING_PAYMENT, Status.CLOSING):
        return order, []
    attempts = list(open_attempts([order]))
    if not attempts:
        _finish(order, reason, who)
    elif order.status != Status.CLOSING:
        order.status, order.cancel_reason = Status.CLOSING, reason
        order.save(update_fields=["status", "cancel_reason"])
        audit_trail.note([order], f"closing: {reason}", who)
    return order, attempts


def _locked(order_pk: int) -> Order:
    return Order.objects.select_for_update(no_key=True).get(pk=order_pk)


def _finish(order: Order, reason: Reason, who: str) -> None:
    """Make the locked order cancelled, if it is unpaid, and give it its new values."""
    changed = Order.objects.filter(UNPAID, pk=order.pk).update(
        status=Status.CANCELLED, cancel_reason=order.cancel_reason or reason, cancelled_at=Now()
    )
    order.refresh_from_db()
    if changed:
        unpaid_orders().disarm(order)
        after_cancelling([order], who=who)
