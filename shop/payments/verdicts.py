"""Writing down what a gateway said when it was asked to close an attempt."""

import logging
from collections.abc import Sequence

from django.db.models.functions import Now

from lapse.orders.gateway import Ruling, Verdict
from shop.orders.models import Order, Status
from shop.payments.models import OPEN, PaymentAttempt, State
from shop.payments.settle import settle

log = logging.getLogger("shop.payments")


def record(order: Order, rulings: Sequence[Ruling]) -> bool:
    """Record the rulings on the order's attempts; True if the order is paid afterwards.

    In a transaction that has locked the order; `order` gets its new values where money was found.
    """
    for ruling in rulings:
        number = ruling.attempt.reference
        if ruling.verdict == Verdict.PAID and _amount_is_right(ruling):
            settle(number, trade_no=ruling.provider_reference)
            order.refresh_from_db()
        else:
            state = State.CLOSED if ruling.verdict == Verdict.CLOSED else State.UNKNOWN
            PaymentAttempt.objects.filter(OPEN, out_trade_no=number).update(state=state, changed_at=Now())
    return order.status == Status.PAID


def _amount_is_right(ruling: Ruling) -> bool:
    """Whether the gateway names the amount of the attempt, if it names one; else somebody has to look at it."""
    attempt = PaymentAttempt.objects.get(out_trade_no=ruling.attempt.reference)
    if ruling.amount is None or ruling.amount == attempt.amount:
        return True
    log.error("attempt %s paid %s, not %s: its order stays held", attempt.out_trade_no, ruling.amount, attempt.amount)
    return False
