"""Money has come for an attempt: it pays its order, once, or goes on the work list of money to give back."""

import logging
from enum import StrEnum
from functools import partial

from django.db import transaction
from django.db.models.functions import Now

from shop.orders import audit_trail
from shop.orders.models import Order
from shop.orders.paying import pay
from shop.payments.models import PaymentAttempt, State

log = logging.getLogger("shop.payments")


class Settled(StrEnum):
    """What the money did."""

    PAID = "paid"
    """It has paid the order now."""
    BEFORE = "before"
    """It had been settled before; nothing was done."""
    ORPHANED = "orphaned"
    """The order is cancelled, or paid by another attempt: this money has to go back."""


@transaction.atomic
def settle(out_trade_no: str, *, trade_no: str = "") -> Settled:
    """Settle the money of one attempt; `trade_no` is the gateway's own number for it.

    Repeating it changes nothing. Raises PaymentAttempt.DoesNotExist.
    """
    order_pk = PaymentAttempt.objects.values_list("order_id", flat=True).get(out_trade_no=out_trade_no)
    # The order first, then its attempt: everybody locks in this order.
    order = Order.objects.select_for_update(no_key=True).get(pk=order_pk)
    attempt = PaymentAttempt.objects.select_for_update(no_key=True).get(out_trade_no=out_trade_no)
    if attempt.state in (State.SUCCEEDED, State.ORPHANED):
        return Settled.BEFORE
    settled = Settled.PAID if pay(order, who=f"gateway {attempt.gateway}") else Settled.ORPHANED
    attempt.state = State.SUCCEEDED if settled == Settled.PAID else State.ORPHANED
    PaymentAttempt.objects.filter(pk=attempt.pk).update(state=attempt.state, trade_no=trade_no, changed_at=Now())
    if settled == Settled.ORPHANED:
        audit_trail.note([order], f"money to give back: attempt {out_trade_no}", f"gateway {attempt.gateway}")
        transaction.on_commit(
            partial(
                log.error,
                "attempt %s paid %s for order %s, which is %s: the money has to be given back",
                out_trade_no,
                attempt.amount,
                order.public_id,
                order.status,
            )
        )
    return settled
