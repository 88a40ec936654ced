"""A past for a shop that has none: invented orders of the last days, with everything that belongs to them."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import transaction

from lapse.integrations.django.attempts import State
from shop.catalogue.models import Product
from shop.database import database_now
from shop.orders.events import Actor, ActorKind, What
from shop.orders.models import AuditEntry, Hold, Line, Order, Reason, Reservation, Status, new_public_id
from shop.payments.models import PaymentAttempt
from shop.statistics.days import count
from shop.statistics.models import Event

BUYERS = 40
BATCH = 2000
BUSY = (1, 1, 1, 1, 1, 2, 4, 7, 9, 12, 13, 12, 10, 9, 9, 10, 11, 12, 14, 16, 15, 11, 6, 3)
"""The relative number of orders in each hour of a day, UTC."""


@dataclass(frozen=True, slots=True)
class End:
    """An end of an order: its event, its share of all orders, who caused it, and its latest time (1: the deadline)."""

    event: str
    share: int
    who: str
    within: float


ENDS = (
    End(Event.PAID, 72, "gateway development", 0.9),
    End(Event.EXPIRED, 18, "timer", 1),
    End(Event.BUYER, 8, "buyer", 0.8),
    End(Event.MERCHANT, 2, "merchant", 0.7),
)


def invent_past(orders: int, *, days: float, seed: int = 7) -> int:
    """Write so many orders of the last `days`, all paid or cancelled, and return their number. The audit agrees."""
    chance = random.Random(seed)  # noqa: S311  # a demo needs the same past every time, and no secret
    buyers = _buyers()
    products = list(Product.objects.order_by("id"))
    now = database_now()
    moments = sorted(_moment(chance, now, days) for _ in range(orders))
    for start in range(0, orders, BATCH):
        _write(chance, buyers, products, moments[start : start + BATCH], now)
    return orders


def _moment(chance: random.Random, now: datetime, days: float) -> datetime:
    """Return a random time at which an order was placed: more often in busy hours."""
    latest = timedelta(hours=2)  # the newest hours keep the real orders and their real lateness
    while True:
        at = now - latest - timedelta(days=days) * chance.random()
        if chance.random() * max(BUSY) <= BUSY[at.hour]:
            return at


def _buyers() -> list[User]:
    names = [f"buyer-{number}@example.com" for number in range(1, BUYERS + 1)]
    # These accounts have no usable password, so no one can sign in with them.
    User.objects.bulk_create(
        [User(username=name, email=name, password=make_password(None)) for name in names], ignore_conflicts=True
    )
    return list(User.objects.filter(username__in=names))


@transaction.atomic
def _write(
    chance: random.Random, buyers: list[User], products: list[Product], moments: list[datetime], now: datetime
) -> None:
    orders, lines, attempts, happened = [], [], [], []
    audit_trail: list[AuditEntry] = []
    for placed_at in moments:
        end = chance.choices(ENDS, [end.share for end in ENDS])[0]
        window = min(settings.LAPSE_PAYMENT_WINDOW, (now - placed_at) * 0.98)
        if end.event == Event.EXPIRED:
            ended_at = placed_at + window + timedelta(microseconds=chance.randint(300, 4000))
        else:
            ended_at = placed_at + window * chance.uniform(0.05, end.within)
        order = Order(
            public_id=new_public_id(),
            buyer=chance.choice(buyers),
            status=Status.PAID if end.event == Event.PAID else Status.CANCELLED,
            cancel_reason="" if end.event == Event.PAID else Reason(end.event),
            placed_at=placed_at,
            pay_by=placed_at + window,
            paid_at=ended_at if end.event == Event.PAID else None,
            cancelled_at=None if end.event == Event.PAID else ended_at,
            total=Decimal(0),
        )
        for product in chance.sample(products, chance.choice((1, 1, 2, 3))):
            line = Line(order=order, product=product, quantity=chance.choice((1, 1, 1, 2)), unit_price=product.price)
            order.total += line.quantity * line.unit_price
            lines.append(line)
        orders.append(order)
        if end.event == Event.PAID:
            attempts.append(_paid(order, ended_at))
        audit_trail += _entries(order, end, placed_at, ended_at)
        happened += [(placed_at, Event.PLACED.value, order.total), (ended_at, str(end.event), order.total)]
    Order.objects.bulk_create(orders)
    Line.objects.bulk_create(lines)
    PaymentAttempt.objects.bulk_create(attempts)
    AuditEntry.objects.bulk_create(audit_trail)
    Reservation.objects.bulk_create(
        Reservation(
            line=line,
            state=Hold.CONSUMED if line.order.status == Status.PAID else Hold.RELEASED,
            ended_at=line.order.paid_at or line.order.cancelled_at,
        )
        for line in lines
    )
    count(happened)


def _entries(order: Order, end: End, placed_at: datetime, ended_at: datetime) -> tuple[AuditEntry, AuditEntry]:
    """Return the two entries of the audit trail: placed by the buyer, and ended."""
    buyer = Actor(ActorKind.BUYER, str(order.buyer_id))
    by = buyer if end.who == buyer.kind else Actor.read(end.who)
    what = What.PAID if end.event == Event.PAID else What.CANCELLED
    placed, ended = (
        AuditEntry(
            order=order,
            at=at,
            what=what,
            before=before,
            after=after,
            actor=actor.kind,
            actor_id=actor.id,
            amount=order.total,
            reason=reason,
        )
        for at, what, before, after, actor, reason in (
            (placed_at, What.PLACED, "", Status.AWAITING_PAYMENT, buyer, ""),
            (ended_at, what, Status.AWAITING_PAYMENT, order.status, by, order.cancel_reason),
        )
    )
    return placed, ended


def _paid(order: Order, at: datetime) -> PaymentAttempt:
    """Return the attempt that paid the order at this time."""
    return PaymentAttempt(
        order=order,
        reference=new_public_id(),
        gateway="development",
        amount=order.total,
        expires_at=order.pay_by,
        state=State.SUCCEEDED,
        provider_reference=f"invented-{order.public_id}",
        paid=order.total,
        ask_at=None,
        made_at=order.placed_at,
        changed_at=at,
    )
