"""What gateways report is written down: a verdict on an attempt, and money, which pays its order once.

Money that no order can take goes on the work list of money to give back.
"""

import logging
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from functools import partial

from django.db import transaction
from django.db.models.functions import Now

from lapse.orders import Ruling, Verdict
from shop.orders.models import AuditEntry, Order, Status
from shop.orders.transitions import pay
from shop.payments.models import OPEN, PAID, PaymentAttempt, State

log = logging.getLogger("shop.payments")


class Settled(StrEnum):
    """What became of the money of an attempt."""

    PAID = "paid"
    """It has paid the order now."""
    BEFORE = "before"
    """It had been settled before; nothing was done."""
    ORPHANED = "orphaned"
    """The order is cancelled, or paid by another attempt: this money has to go back."""


def apply_rulings(order: Order, rulings: Sequence[Ruling]) -> bool:
    """Write the gateways' verdicts on the order's attempts; return whether the order is paid afterwards.

    Call it in a transaction that has locked the order. `order` is refreshed if money was found.
    """
    for ruling in rulings:
        attempt = PaymentAttempt.objects.get(out_trade_no=ruling.attempt.reference)
        if ruling.verdict == Verdict.PAID and amount_is_right(attempt, ruling.amount):
            settle(attempt.out_trade_no, provider_reference=ruling.provider_reference)
            order.refresh_from_db()
        else:
            state = State.CLOSED if ruling.verdict.ended else State.UNKNOWN
            PaymentAttempt.objects.filter(OPEN, pk=attempt.pk).update(state=state, changed_at=Now())
    return order.status == Status.PAID


def amount_is_right(attempt: PaymentAttempt, amount: Decimal | None) -> bool:
    """Return whether the gateway reported the attempt's amount, or none. A wrong amount is logged for the operator."""
    if amount is None or amount == attempt.amount:
        return True
    log.error("attempt %s paid %s, not %s: its order stays held", attempt.out_trade_no, amount, attempt.amount)
    return False


@transaction.atomic
def settle(reference: str, *, provider_reference: str = "") -> Settled:
    """Settle the money of one attempt and return what became of it. Repeating the call changes nothing.

    Raises PaymentAttempt.DoesNotExist.
    """
    order_pk = PaymentAttempt.objects.values_list("order_id", flat=True).get(out_trade_no=reference)
    # The order first, then its attempt: every transaction locks in this order.
    order = Order.objects.select_for_update(no_key=True).get(pk=order_pk)
    attempt = PaymentAttempt.objects.select_for_update(no_key=True).get(out_trade_no=reference)
    if attempt.state in PAID:
        return Settled.BEFORE
    settled = Settled.PAID if pay(order, who=f"gateway {attempt.gateway}") else Settled.ORPHANED
    state = State.SUCCEEDED if settled == Settled.PAID else State.ORPHANED
    PaymentAttempt.objects.filter(pk=attempt.pk).update(state=state, trade_no=provider_reference, changed_at=Now())
    if settled == Settled.ORPHANED:
        AuditEntry.record([order], f"money to give back: attempt {reference}", f"gateway {attempt.gateway}")
        transaction.on_commit(
            partial(
                log.error,
                "attempt %s paid %s for order %s, which is %s: the money has to be given back",
                reference,
                attempt.amount,
                order.public_id,
                order.status,
            )
        )
    return settled
