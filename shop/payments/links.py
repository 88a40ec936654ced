"""The link with which a buyer pays. An order has one open attempt at most, used again while it is open."""

import secrets

from django.db import transaction
from django.db.models.functions import Now

from lapse.integrations.django.attempts import STILL_OPEN, State
from shop.database import database_now
from shop.orders.events import Actor, ActorKind, What
from shop.orders.models import AuditEntry, Order, Status
from shop.orders.reading import fresh
from shop.orders.refusals import AlreadyCancelled, AlreadyPaid, PaymentUnavailable, TooLate
from shop.payments.gateways import PaymentGateway, chosen
from shop.payments.models import PaymentAttempt


def payment_link(order_pk: int) -> str:
    """Return the address where the buyer pays this order. The deadline does not move.

    Not to be called in a transaction. Raises AlreadyPaid, AlreadyCancelled, TooLate or PaymentUnavailable.
    """
    fresh(order_pk)
    name, gateway = chosen()
    attempt = _open_attempt(order_pk, name, gateway)
    if attempt.gateway != name:
        raise PaymentUnavailable("This order was to be paid in a way that the shop does not offer any more.")
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
def _open_attempt(order_pk: int, name: str, gateway: PaymentGateway) -> PaymentAttempt:
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
    ends = gateway.link_ends(order.pay_by) if attempt is None else attempt.expires_at
    if ends is not None and ends - now < gateway.least_time:
        raise TooLate("Too little time is left to pay this order.", pay_by=order.pay_by)
    if attempt is None:
        attempt = PaymentAttempt.objects.create(
            order=order, reference=secrets.token_hex(16), gateway=name, amount=order.total, expires_at=ends
        )
        AuditEntry.record_attempt(order, What.OPENED, _buyer_of(order), attempt, before="")
    return attempt


def _buyer_of(order: Order) -> Actor:
    return Actor(ActorKind.BUYER, str(order.buyer_id))
