"""A notify is heard: believed, written down and acted upon in one transaction, each status of a trade once."""

import hashlib
import logging
from collections.abc import Mapping
from enum import StrEnum

from django.db import transaction
from django.db.models.functions import Now

from lapse.gateways.alipay import AlipayGateway, MessageRefused, Notification, TradeStatus
from shop.orders import audit_trail
from shop.orders.models import Order
from shop.payments.models import OPEN, GatewayMessage, Judged, PaymentAttempt, State
from shop.payments.settle import settle

log = logging.getLogger("shop.payments")

PROVIDER = "alipay"
LONGEST_RAW = 20_000
MOST_UNSIGNED = 1_000
"""So many messages without a signature are kept; anybody can send them."""


class Heard(StrEnum):
    """What became of a notify."""

    DONE = "done"
    """Acted upon and committed, now or before."""
    UNKNOWN = "unknown"
    """It is about an attempt that is not known, or not known yet: let it be sent again."""
    REFUSED = "refused"
    """It must not be believed."""


def hear(form: Mapping[str, str], raw: str, gateway: AlipayGateway) -> Heard:
    """Verify a notify and act on it. What it says is committed when this returns DONE.

    Not to be called in a transaction. Whatever the database raises is passed on: nothing has happened then.
    """
    try:
        notification = gateway.read_notify(form)
    except MessageRefused as refusal:
        log.error("a notify was refused (%s): %s", refusal.flaw, refusal)  # noqa: TRY400  # no fault of ours to trace
        _keep(form, raw, Judged(refusal.flaw.value))
        return Heard.REFUSED
    judged = _act(notification, raw)
    if judged == Judged.ACCEPTED:
        return Heard.DONE
    trade = notification.trade
    log.error("a notify on attempt %s over %s was refused (%s)", trade.out_trade_no, trade.total_amount, judged.label)
    _keep(form, raw, judged)
    return Heard.UNKNOWN if judged == Judged.UNKNOWN else Heard.REFUSED


@transaction.atomic(durable=True)
def _act(notification: Notification, raw: str) -> Judged:
    trade = notification.trade
    found = PaymentAttempt.objects.filter(out_trade_no=trade.out_trade_no, gateway=PROVIDER).first()
    if found is None:
        return Judged.UNKNOWN
    # The same order of locks as everywhere; it also makes the same notify, come twice at once, wait for itself.
    order = Order.objects.select_for_update(no_key=True).get(pk=found.order_id)
    attempt = PaymentAttempt.objects.select_for_update(no_key=True).get(pk=found.pk)
    if trade.total_amount != attempt.amount:
        return Judged.AMOUNT
    identity = {"provider": PROVIDER, "trade_no": trade.trade_no, "trade_status": trade.status.value}
    if GatewayMessage.objects.filter(judged=Judged.ACCEPTED, **identity).exists():
        return Judged.ACCEPTED
    GatewayMessage.objects.create(
        judged=Judged.ACCEPTED, out_trade_no=trade.out_trade_no, raw=raw[:LONGEST_RAW], digest=_digest(raw), **identity
    )
    if trade.status.paid:
        settle(trade.out_trade_no, trade_no=trade.trade_no)
    elif trade.status is TradeStatus.TRADE_CLOSED:
        _closed(order, attempt)
    return Judged.ACCEPTED


def _closed(order: Order, attempt: PaymentAttempt) -> None:
    """Closed unpaid: that ends the attempt, and cancels no order by itself. Closed after it was paid: a refund."""
    if attempt.state in (State.SUCCEEDED, State.ORPHANED):
        audit_trail.note([order], f"refunded at Alipay: attempt {attempt.out_trade_no}", f"gateway {attempt.gateway}")
    else:
        PaymentAttempt.objects.filter(OPEN, pk=attempt.pk).update(state=State.CLOSED, changed_at=Now())


def _keep(form: Mapping[str, str], raw: str, judged: Judged) -> None:
    """Keep a message that was not acted upon, once, however often it comes."""
    unsigned = GatewayMessage.objects.filter(judged=Judged.SIGNATURE)
    if judged == Judged.SIGNATURE and unsigned.count() >= MOST_UNSIGNED:
        return
    told = {name: form.get(name, "").replace("\0", "")[:64] for name in ("out_trade_no", "trade_no", "trade_status")}
    GatewayMessage.objects.bulk_create(
        [GatewayMessage(provider=PROVIDER, judged=judged, raw=raw[:LONGEST_RAW], digest=_digest(raw), **told)],
        ignore_conflicts=True,
    )


def _digest(raw: str) -> str:
    return hashlib.sha256(raw.encode()).hexdigest()
