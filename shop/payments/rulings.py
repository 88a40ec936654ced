"""Writing down what a gateway said when it was asked to close an attempt."""

from collections.abc import Sequence

from django.db.models.functions import Now

from lapse.orders.gateway import Ruling, Verdict
from shop.orders.models import Order, Status
from shop.payments.models import OPEN, PaymentAttempt, State
from shop.payments.settling import settle


def record(order: Order, rulings: Sequence[Ruling]) -> bool:
    """Record the rulings on the order's attempts; True if the order is paid afterwards.

    In a transaction that has locked the order; `order` gets its new values where money was found.
    """
    for ruling in rulings:
        number = ruling.attempt.out_trade_no
        if ruling.verdict == Verdict.PAID:
            settle(number)
            order.refresh_from_db()
        else:
            state = State.CLOSED if ruling.verdict == Verdict.CLOSED else State.UNKNOWN
            PaymentAttempt.objects.filter(OPEN, out_trade_no=number).update(state=state, changed_at=Now())
    return order.status == Status.PAID
