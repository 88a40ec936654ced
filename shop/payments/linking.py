"""The link with which a buyer pays: one open attempt per order, used again while it is open."""

import secrets

from django.db import transaction
from django.db.models.functions import Now

from shop.orders import trail
from shop.orders.clock import database_now
from shop.orders.models import Order, Status
from shop.orders.reading import fresh
from shop.orders.refusals import AlreadyCancelled, AlreadyPaid, TooLate
from shop.payments.gateways import CHOSEN, GATEWAYS
from shop.payments.models import OPEN, PaymentAttempt, State


def payment_link(order_pk: int) -> str:
    """Give the address where this order is paid. The deadline does not move.

    Not to be called in a transaction. Raises AlreadyPaid, AlreadyCancelled or TooLate.
    """
    fresh(order_pk)
    attempt = _open_attempt(order_pk)
    # Made outside the transaction: a gateway may have to be asked.
    link = GATEWAYS[attempt.gateway].link(attempt)
    PaymentAttempt.objects.filter(pk=attempt.pk, state=State.CREATED).update(state=State.PENDING, changed_at=Now())
    return link


@transaction.atomic(durable=True)
def _open_attempt(order_pk: int) -> PaymentAttempt:
    # Locked, so that an order cannot begin to lapse while it gets an attempt that lapsing would not know of.
    order = Order.objects.select_for_update(no_key=True).get(pk=order_pk)
    if order.status == Status.PAID:
        raise AlreadyPaid("This order is paid.", paid_at=order.paid_at)
    if order.status == Status.CANCELLED:
        raise AlreadyCancelled("This order is cancelled.", reason=order.cancel_reason, cancelled_at=order.cancelled_at)
    if order.status == Status.CLOSING or order.pay_by <= database_now():
        raise TooLate("The time to pay this order is over.", pay_by=order.pay_by)
    attempt = PaymentAttempt.objects.filter(OPEN, order=order).first()
    if attempt is None:
        attempt = PaymentAttempt.objects.create(
            order=order, out_trade_no=secrets.token_hex(16), gateway=CHOSEN, amount=order.total
        )
        trail.note([order], "payment begun", f"buyer {order.buyer_id}")
    return attempt
