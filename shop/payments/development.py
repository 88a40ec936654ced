"""A gateway for development: its page has one button, and pressing it pays at once. No money is involved."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.core import checks
from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import STILL_OPEN, State
from lapse.orders import Attempt, AttemptState, Refund, RefundState, Ruling, Verdict
from shop.orders.events import Actor, ActorKind, What
from shop.orders.models import AuditEntry, Order, Status
from shop.payments.models import PaymentAttempt


class DevelopmentGateway:
    """Its record of attempts is the shop's own table, so closing an attempt is a conditional update there."""

    least_time = timedelta(0)
    least_window = timedelta(0)

    def link_ends(self, pay_by: datetime) -> datetime:
        """Return the deadline itself: this gateway uses the same clock, the database's."""
        return pay_by

    def link(self, attempt: PaymentAttempt) -> str:
        """Return the page with the button. The attempt's unguessable number is the permission to pay."""
        return reverse("development-pay", args=[attempt.reference])

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt unless it was paid, and return the verdict. Waits for a payment in progress.

        Raises PaymentAttempt.DoesNotExist.
        """
        with transaction.atomic():
            locked = PaymentAttempt.objects.select_for_update(no_key=True, of=("self",)).select_related("order")
            row = locked.get(reference=attempt.reference)
            if AttemptState(before := row.state).open:
                row.state = State.CLOSED
                PaymentAttempt.objects.filter(pk=row.pk).update(state=row.state, changed_at=Now())
                by = Actor(ActorKind.GATEWAY, attempt.gateway)
                AuditEntry.record_attempt(row.order, What.ATTEMPT, by, row, before=before)
        return self.query(attempt)

    def query(self, attempt: Attempt) -> Ruling:
        """Return the verdict on the attempt. Raises PaymentAttempt.DoesNotExist."""
        row = PaymentAttempt.objects.get(reference=attempt.reference)
        if row.paid is not None:
            verdict = Verdict.REFUNDED if row.refunded >= row.paid else Verdict.PAID
            number = row.provider_reference
            return Ruling(attempt, verdict, amount=row.paid, refunded=row.refunded, provider_reference=number)
        return Ruling(attempt, Verdict.OPEN if AttemptState(row.state).open else Verdict.CLOSED)

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Return DONE for what was paid, and REFUSED for anything else. No money moves here, so nothing is recorded."""
        row = PaymentAttempt.objects.get(reference=attempt.reference)
        if row.paid is None or not 0 < amount <= row.paid:
            return Refund(attempt, RefundState.REFUSED, reason=f"{amount} were not paid for this attempt")
        return Refund(attempt, RefundState.DONE, amount=amount)

    def refund_status(self, attempt: Attempt) -> Refund:
        """Return ABSENT, because no refund is recorded here: the shop then asks for the refund again."""
        return Refund(attempt, RefundState.ABSENT)


@transaction.atomic
def pay_now(reference: str) -> bool:
    """Take the money for an attempt and pay its order. Return False, and take no money, if it cannot be paid any more.

    This gateway checks before it takes the money: the order's row is locked from the check to the payment.
    Raises PaymentAttempt.DoesNotExist.
    """
    attempt = PaymentAttempt.objects.get(reference=reference)
    order = Order.objects.select_for_update(no_key=True).get(pk=attempt.order_id)
    still_open = PaymentAttempt.objects.select_for_update(no_key=True).filter(STILL_OPEN, pk=attempt.pk).exists()
    if not still_open or order.status not in (Status.AWAITING_PAYMENT, Status.CLOSING):
        return False
    paid = Attempt(order.public_id, reference, attempt.gateway)
    number = f"development-{attempt.pk}"
    unpaid_orders().receive(Ruling(paid, Verdict.PAID, amount=attempt.amount, provider_reference=number))
    return True


@checks.register(deploy=True)
def check_real_money(**_: object) -> list[checks.CheckMessage]:
    """Return a warning if the development gateway is chosen where orders are to be real."""
    if settings.SHOP_GATEWAY != "development":
        return []
    return [
        checks.Warning(
            "SHOP_GATEWAY is development: pressing its button marks an order as paid, and no money moves.",
            hint="Unset it where orders are real.",
            id="payments.W002",
        )
    ]
