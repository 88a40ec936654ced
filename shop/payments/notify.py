"""A notify from a gateway: written down and acted upon in one transaction, each status of a trade once."""

import hashlib
import logging
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from django.db import transaction
from django.db.models.functions import Now

from lapse.orders import Verdict
from shop.orders.models import AuditEntry, Order
from shop.payments.models import OPEN, PAID, GatewayMessage, Judged, PaymentAttempt, State
from shop.payments.settle import settle

log = logging.getLogger("shop.payments")

LONGEST_FIELD = 64
LONGEST_RAW = 20_000
MOST_UNSIGNED = 1_000
"""The shop keeps this many messages without a signature; any stranger can send them."""


class NotifyResult(StrEnum):
    """What became of a notify."""

    DONE = "done"
    """Acted upon and committed, now or before."""
    UNKNOWN = "unknown"
    """Its attempt is not known, or not known yet: the gateway should send it again."""
    REFUSED = "refused"
    """It must not be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notify in the shop's words. `status` is the provider's own word; `amount` is in yuan, None if not reported.

    A notice that was not verified is for `refuse_notify` only.
    """

    provider: str
    reference: str
    provider_reference: str
    status: str
    verdict: Verdict = Verdict.UNKNOWN
    amount: Decimal | None = None


def receive_notify(notice: Notice, raw: str) -> NotifyResult:
    """Act on a verified notify and return what became of it. Its effect is committed when this returns DONE.

    Not to be called in a transaction. Errors of the database are passed on: then nothing has happened.
    """
    judged = _act(notice, raw)
    if judged == Judged.ACCEPTED:
        return NotifyResult.DONE
    log.error("a notify on attempt %s over %s was refused (%s)", notice.reference, notice.amount, judged.label)
    refuse_notify(notice, raw, judged)
    return NotifyResult.UNKNOWN if judged == Judged.UNKNOWN else NotifyResult.REFUSED


def refuse_notify(notice: Notice, raw: str, judged: Judged) -> None:
    """Keep a notify that was not acted upon, once, however often it is sent."""
    unsigned = GatewayMessage.objects.filter(judged=Judged.SIGNATURE)
    if judged == Judged.SIGNATURE and unsigned.count() >= MOST_UNSIGNED:
        return
    message = _message(notice, raw, judged)
    GatewayMessage.objects.bulk_create([message], ignore_conflicts=True)


@transaction.atomic(durable=True)
def _act(notice: Notice, raw: str) -> Judged:
    found = PaymentAttempt.objects.filter(out_trade_no=notice.reference, gateway=notice.provider).first()
    if found is None:
        return Judged.UNKNOWN
    # Every transaction locks in this order. The lock also lets the same notify, sent twice at once, act once.
    order = Order.objects.select_for_update(no_key=True).get(pk=found.order_id)
    attempt = PaymentAttempt.objects.select_for_update(no_key=True).get(pk=found.pk)
    if notice.amount != attempt.amount:
        return Judged.AMOUNT
    message = _message(notice, raw, Judged.ACCEPTED)
    acted_upon = GatewayMessage.objects.filter(
        judged=Judged.ACCEPTED,
        provider=message.provider,
        trade_no=message.trade_no,
        trade_status=message.trade_status,
    )
    if acted_upon.exists():
        return Judged.ACCEPTED
    message.save()
    if notice.verdict == Verdict.PAID:
        settle(notice.reference, provider_reference=notice.provider_reference)
    elif notice.verdict.ended:
        _close(order, attempt)
    return Judged.ACCEPTED


def _close(order: Order, attempt: PaymentAttempt) -> None:
    """Close an unpaid attempt, which by itself cancels no order. A paid attempt that is closed was refunded."""
    if attempt.state in PAID:
        AuditEntry.record(
            [order], f"refunded at {attempt.gateway}: attempt {attempt.out_trade_no}", f"gateway {attempt.gateway}"
        )
    else:
        PaymentAttempt.objects.filter(OPEN, pk=attempt.pk).update(state=State.CLOSED, changed_at=Now())


def _message(notice: Notice, raw: str, judged: Judged) -> GatewayMessage:
    # A refused notify has what a stranger wrote: too long, or with a zero character, which PostgreSQL refuses.
    reference, provider_reference, status = (
        text.replace("\0", "")[:LONGEST_FIELD] for text in (notice.reference, notice.provider_reference, notice.status)
    )
    return GatewayMessage(
        provider=notice.provider,
        judged=judged,
        out_trade_no=reference,
        trade_no=provider_reference,
        trade_status=status,
        raw=raw[:LONGEST_RAW],
        digest=hashlib.sha256(raw.encode()).hexdigest(),
    )
