"""What gateways are asked: to close the open attempts of an order, and about the one that a buyer comes back from."""

import logging
from collections.abc import Iterable, Sequence

from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from lapse.gateways.alipay import AlipayError, AlipayGateway
from lapse.orders.gateway import Attempt
from shop.orders.models import Order
from shop.payments.models import OPEN, PaymentAttempt
from shop.payments.settle import settle

log = logging.getLogger("shop.payments")


def to_close(orders: Iterable[Order]) -> Sequence[Attempt]:
    """Name the open attempts of these orders, and how far off the ends of their links are by the database's clock."""
    left = ExpressionWrapper(F("expires_at") - Now(), output_field=DurationField())
    found = PaymentAttempt.objects.filter(OPEN, order__in=[order.pk for order in orders]).select_related("order")
    return [
        Attempt(attempt.order.public_id, attempt.out_trade_no, attempt.gateway, attempt.left)
        for attempt in found.annotate(left=left)
    ]


def look(attempt: PaymentAttempt, gateway: AlipayGateway) -> bool:
    """Ask Alipay whether this attempt was paid, and settle it if so; True where it is settled, now or before.

    Not to be called in a transaction: the answer may take its time, or never come.
    """
    if not PaymentAttempt.objects.filter(OPEN, pk=attempt.pk).exists():
        return True
    try:
        trade = gateway.query(attempt.out_trade_no)
    except AlipayError as error:
        log.warning("attempt %s could not be asked for: %s", attempt.out_trade_no, error)
        return False
    if trade is None or not trade.status.paid:
        return False
    if trade.total_amount != attempt.amount:
        log.error(
            "Alipay says that attempt %s paid %s, not %s", attempt.out_trade_no, trade.total_amount, attempt.amount
        )
        return False
    settle(attempt.out_trade_no, trade_no=trade.trade_no)
    return True
