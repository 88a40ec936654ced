"""A notify from a gateway: written down and booked in one transaction, each state of a payment once."""

import hashlib
import logging
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from django.db import transaction

from lapse.integrations.django import unpaid_orders
from lapse.orders import Ruling, UnknownAttempt
from shop.payments.models import GatewayMessage, Judged, PaymentAttempt

log = logging.getLogger("shop.payments")

LONGEST_FIELD = 64
LONGEST_RAW = 20_000
MOST_UNSIGNED = 1_000
"""The shop keeps this many messages without a signature; any stranger can send them."""


class NotifyResult(StrEnum):
    """What became of a notify."""

    DONE = "done"
    """Booked and committed, now or before."""
    UNKNOWN = "unknown"
    """Its attempt is not known, or not known yet: the gateway should send it again."""
    REFUSED = "refused"
    """It must not be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notify in the shop's words. `status` is the provider's own word, and `raw` the message as it came.

    `amount` is the amount of the payment, in yuan; None if not reported. A notice that was not verified is for
    `refuse_notify` only.
    """

    ruling: Ruling
    status: str
    raw: str
    amount: Decimal | None = None


def receive_notify(notice: Notice) -> NotifyResult:
    """Book a verified notify and return what became of it. Its effect is committed when this returns DONE.

    Not to be called in a transaction. Errors of the database are passed on: then nothing has happened.
    """
    judged = _judge(notice)
    if judged == Judged.ACCEPTED:
        return NotifyResult.DONE
    reference = notice.ruling.attempt.reference
    log.error("a notify on attempt %s over %s was refused (%s)", reference, notice.amount, judged.label)
    refuse_notify(notice, judged)
    return NotifyResult.UNKNOWN if judged == Judged.UNKNOWN else NotifyResult.REFUSED


def refuse_notify(notice: Notice, judged: Judged) -> None:
    """Keep a notify that was not booked, once, however often it is sent."""
    unsigned = GatewayMessage.objects.filter(judged=Judged.SIGNATURE)
    if judged == Judged.SIGNATURE and unsigned.count() >= MOST_UNSIGNED:
        return
    message = GatewayMessage(judged=judged, **_identity(notice), **_content(notice))
    GatewayMessage.objects.bulk_create([message], ignore_conflicts=True)


def _judge(notice: Notice) -> Judged:
    """Book the notify, unless its attempt is unknown or its amount wrong. Return which of the three it was.

    The query of the gateway is the authority on a wrong amount: the attempt is asked about at once.
    """
    attempt = notice.ruling.attempt
    found = PaymentAttempt.objects.filter(reference=attempt.reference, gateway=attempt.gateway).first()
    if found is None:
        return Judged.UNKNOWN
    if notice.amount != found.amount:
        unpaid_orders().money.attempts.ask_now(attempt.reference)
        return Judged.AMOUNT
    try:
        _book(notice)
    except UnknownAttempt:
        return Judged.UNKNOWN
    return Judged.ACCEPTED


@transaction.atomic(durable=True)
def _book(notice: Notice) -> None:
    # The message's row comes first. The same notify, sent twice at once, waits for the commit and finds the row.
    _, new = GatewayMessage.objects.get_or_create(
        judged=Judged.ACCEPTED, **_identity(notice), defaults=_content(notice)
    )
    if new:
        unpaid_orders().receive(notice.ruling)


def _identity(notice: Notice) -> dict[str, object]:
    """Return what the notify says, by the columns of a message. Two accepted messages never say the same."""
    ruling = notice.ruling
    return {
        "provider": ruling.attempt.gateway,
        "provider_reference": _field(ruling.provider_reference),
        "status": _field(notice.status),
        "refunded": ruling.refunded or Decimal(0),
    }


def _content(notice: Notice) -> dict[str, str]:
    """Return the other columns of a message."""
    return {
        "reference": _field(notice.ruling.attempt.reference),
        "raw": notice.raw[:LONGEST_RAW],
        "digest": hashlib.sha256(notice.raw.encode()).hexdigest(),
    }


def _field(text: str) -> str:
    """Return what a stranger wrote, not too long and without the zero character, which PostgreSQL refuses."""
    return text.replace("\0", "")[:LONGEST_FIELD]
