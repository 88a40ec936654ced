"""More time for buyers: a merchant extends unpaid orders, and revives expired ones while their stock is there."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.db.models import Q

from lapse.integrations.django import unpaid_orders
from lapse.orders import Extended, Revived
from shop.database import database_now
from shop.orders.models import UNPAID, Order, Reason, Status

MOST_MINUTES = 7 * 24 * 60
"""The most time that a merchant gives, in minutes from now."""
MOST_ORDERS = 1_000
"""The most orders of one request. Each revived order is a transaction of its own."""

EXTENDABLE = UNPAID
REVIVABLE = Q(status=Status.CANCELLED, cancel_reason=Reason.EXPIRED)
"""An order that its buyer or the shop cancelled on purpose is not revived."""


def extend(orders: Iterable[Order], *, minutes: int, who: str) -> Mapping[str, Extended]:
    """Let buyers pay these unpaid orders until `minutes` from now; return what became of each, by its public id."""
    until = database_now() + timedelta(minutes=minutes)
    return unpaid_orders().extend(orders, until=until, by=who, reason=Reason.MERCHANT)


def revive(orders: Iterable[Order], *, minutes: int, who: str) -> Mapping[str, Revived]:
    """Make these expired orders unpaid again until `minutes` from now; return what became of each, by its public id."""
    until = database_now() + timedelta(minutes=minutes)
    return unpaid_orders().revive(orders, until=until, by=who, reason=Reason.MERCHANT)
