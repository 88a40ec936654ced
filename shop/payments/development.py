"""A gateway for development: its page has one button, and pressing it pays at once. No money is involved."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse

from lapse.orders.gateway import Attempt, Ruling, Verdict
from shop.orders.models import Order, Status
from shop.payments.models import OPEN, PaymentAttempt, State
from shop.payments.settle import settle


class DevelopmentGateway:
    """Its book of attempts is the shop's own table, so closing is a conditional update there."""

    least = timedelta(0)

    def link_ends(self, pay_by: datetime) -> datetime:
        """At the deadline itself: it goes by the database's clock."""
        return pay_by

    def link(self, attempt: PaymentAttempt) -> str:
        """Give the page with the button. Its unguessable number is what lets one pay."""
        return reverse("development-pay", args=[attempt.out_trade_no])

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt unless it was paid. A payment in progress is waited for."""
        found = PaymentAttempt.objects.filter(out_trade_no=attempt.reference)
        found.filter(OPEN).update(state=State.CLOSED, changed_at=Now())
        state = found.values_list("state", flat=True).get()
        return Ruling(attempt, Verdict.PAID if state in (State.SUCCEEDED, State.ORPHANED) else Verdict.CLOSED)


@transaction.atomic
def pay_now(out_trade_no: str) -> bool:
    """Take the money for an attempt and pay its order. False, and no money taken, if that cannot be any more.

    This gateway asks before it takes: the order's row is locked from the question to the payment.
    Raises PaymentAttempt.DoesNotExist.
    """
    attempt = PaymentAttempt.objects.get(out_trade_no=out_trade_no)
    order = Order.objects.select_for_update(no_key=True).get(pk=attempt.order_id)
    still_open = PaymentAttempt.objects.select_for_update(no_key=True).filter(OPEN, pk=attempt.pk).exists()
    if not still_open or order.status not in (Status.AWAITING_PAYMENT, Status.CLOSING):
        return False
    settle(out_trade_no)
    return True
