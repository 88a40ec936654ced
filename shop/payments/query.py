"""The open attempts of orders, which lapsing closes, and the question whether one attempt was paid."""

import logging
from collections.abc import Iterable, Sequence

from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from lapse import LapseError
from lapse.orders import Attempt, Verdict
from shop.orders.models import Order
from shop.payments.gateways import GATEWAYS
from shop.payments.models import OPEN, PaymentAttempt
from shop.payments.settle import amount_is_right, settle

log = logging.getLogger("shop.payments")


def open_attempts(orders: Iterable[Order]) -> Sequence[Attempt]:
    """Return the open attempts of these orders, with the time left of each link by the database's clock."""
    left = ExpressionWrapper(F("expires_at") - Now(), output_field=DurationField())
    found = PaymentAttempt.objects.filter(OPEN, order__in=[order.pk for order in orders]).select_related("order")
    return [
        Attempt(attempt.order.public_id, attempt.out_trade_no, attempt.gateway, attempt.left)
        for attempt in found.annotate(left=left)
    ]


def query_attempt(attempt: PaymentAttempt) -> bool:
    """Ask the attempt's gateway whether it was paid, and settle it if so; return whether it is settled, or closed.

    Not to be called in a transaction: the answer may take seconds, or never come.
    """
    if not PaymentAttempt.objects.filter(OPEN, pk=attempt.pk).exists():
        return True
    gateway = GATEWAYS[attempt.gateway]
    try:
        ruling = gateway.query(Attempt(attempt.order.public_id, attempt.out_trade_no, attempt.gateway))
    except LapseError as error:
        log.warning("the gateway could not be asked about attempt %s: %s", attempt.out_trade_no, error)
        return False
    if ruling.verdict != Verdict.PAID or not amount_is_right(attempt, ruling.amount):
        return False
    settle(attempt.out_trade_no, provider_reference=ruling.provider_reference)
    return True
