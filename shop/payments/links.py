"""The link with which a buyer pays. An order has one open attempt at most.

The open attempt is used again as long as its link has enough time. After an extension a link may end long before the
order's deadline: then the attempt is closed at its gateway, and a new one replaces it.
"""

import math
import secrets
from datetime import datetime

from django.db import transaction
from django.db.models.functions import Now

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import STILL_OPEN, State
from shop.database import database_now
from shop.orders.events import Actor, ActorKind, What
from shop.orders.models import AuditEntry, Order, Status
from shop.orders.reading import fresh
from shop.orders.refusals import AlreadyCancelled, AlreadyPaid, LinkStillOpen, PaymentUnavailable, TooLate
from shop.payments.gateways import GATEWAYS, PaymentGateway, chosen
from shop.payments.models import PaymentAttempt

ENDED_BY = 3
"""Seconds after a link's end by which its gateway says that it can no longer be paid. Alipay's margin is 2 s."""


def payment_link(order_pk: int) -> str:
    """Return the address where the buyer pays this order. The deadline does not move.

    Not to be called in a transaction: an attempt that must be replaced is closed at its gateway. Raises AlreadyPaid,
    AlreadyCancelled, TooLate or PaymentUnavailable.
    """
    fresh(order_pk)
    name, gateway = chosen()
    attempt, useful = _open_attempt(order_pk, name, gateway)
    if not useful:
        if attempt.gateway not in GATEWAYS:
            raise PaymentUnavailable("This order was to be paid in a way that the shop does not offer any more.")
        # This attempt by its number: another request may have replaced it already. The rows say what became of it.
        unpaid_orders().close_attempt(attempt.reference)
        attempt, useful = _open_attempt(order_pk, name, gateway)
    if not useful:
        raise _still_open(attempt, database_now())
    # Outside the transaction: making a link may take a call to the gateway.
    link = gateway.link(attempt)
    if attempt.state == State.CREATED:
        _link_made(attempt)
    return link


@transaction.atomic
def _link_made(attempt: PaymentAttempt) -> None:
    order = Order.objects.select_for_update(no_key=True).get(pk=attempt.order_id)  # everywhere before its attempts
    created = PaymentAttempt.objects.filter(pk=attempt.pk, state=State.CREATED)
    if created.update(state=State.PENDING, changed_at=Now()):
        attempt.state = State.PENDING
        AuditEntry.record_attempt(order, What.ATTEMPT, _buyer_of(order), attempt, before=State.CREATED)


@transaction.atomic(durable=True)
def _open_attempt(order_pk: int, name: str, gateway: PaymentGateway) -> tuple[PaymentAttempt, bool]:
    """Return the order's open attempt, a new one if there is none, and whether the buyer can pay by it."""
    # Locked, so that the order cannot begin to lapse while it gets an attempt that lapsing would miss.
    order = Order.objects.select_for_update(no_key=True).get(pk=order_pk)
    if order.status == Status.PAID:
        raise AlreadyPaid("This order is paid.", paid_at=order.paid_at)
    if order.status == Status.CANCELLED:
        raise AlreadyCancelled("This order is cancelled.", reason=order.cancel_reason, cancelled_at=order.cancelled_at)
    now = database_now()
    if order.status == Status.CLOSING or order.pay_by <= now:
        raise TooLate("The time to pay this order is over.", pay_by=order.pay_by)
    attempt = PaymentAttempt.objects.filter(STILL_OPEN, order=order).first()
    if attempt is not None and attempt.gateway == name and _is_enough(attempt.expires_at, now, gateway):
        return attempt, True
    ends = gateway.link_ends(order.pay_by)
    if not _is_enough(ends, now, gateway):
        raise TooLate("Too little time is left to pay this order.", pay_by=order.pay_by)
    if attempt is not None:
        return attempt, False
    attempt = PaymentAttempt.objects.create(
        order=order, reference=secrets.token_hex(16), gateway=name, amount=order.total, expires_at=ends
    )
    AuditEntry.record_attempt(order, What.OPENED, _buyer_of(order), attempt, before="")
    return attempt, True


def _buyer_of(order: Order) -> Actor:
    return Actor(ActorKind.BUYER, str(order.buyer_id))


def _is_enough(ends: datetime | None, now: datetime, gateway: PaymentGateway) -> bool:
    """Return whether a buyer can still pay by a link that ends then. None: it has no end."""
    return ends is None or ends - now >= gateway.least_time


def _still_open(attempt: PaymentAttempt, now: datetime) -> LinkStillOpen:
    """Return the refusal while the old link may still be paid. A link that no buyer has opened ends by itself."""
    left = 0 if attempt.expires_at is None else max(0, math.ceil((attempt.expires_at - now).total_seconds()))
    return LinkStillOpen(
        "An earlier payment link of this order may still be paid, so there is no second one yet. Try again soon.",
        retry_after=left + ENDED_BY,
    )
