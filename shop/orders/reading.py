"""Reading orders. One whose time is over lapses before anybody sees it, with or without a worker."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now

from lapse.integrations.django import unpaid_orders
from shop.orders.clock import database_now
from shop.orders.models import Order, Status


@dataclass(frozen=True, slots=True)
class Reading:
    """An order, and the database's time at which it was read."""

    order: Order
    now: datetime

    @property
    def unpaid(self) -> bool:
        """Whether it holds stock and waits for money, or for being cancelled."""
        return self.order.status in (Status.AWAITING_PAYMENT, Status.CLOSING)

    @property
    def payable(self) -> bool:
        """Whether it may be paid now."""
        return self.order.status == Status.AWAITING_PAYMENT and self.now < self.order.pay_by

    @property
    def status(self) -> str:
        """Its status; an overdue one that another process is just cancelling reads as closing."""
        return Status.CLOSING.value if self.unpaid and not self.payable else self.order.status


def read(buyer: User, public_id: str) -> Reading | None:
    """Read one of the buyer's orders; None if there is no such order, or it is another's."""
    pk = own(buyer, public_id)
    return None if pk is None else fresh(pk)


def own(buyer: User, public_id: str) -> int | None:
    """Find one of the buyer's orders by its public id; None if there is no such order, or it is another's."""
    if not public_id.isalnum():  # a zero character, for one, cannot be asked for
        return None
    return Order.objects.filter(buyer=buyer, public_id=public_id).values_list("pk", flat=True).first()


def fresh(order_pk: int) -> Reading:
    """Read the order with its lines, lapsed if its time is over. Raises Order.DoesNotExist."""
    reading = _as_it_stands(order_pk)
    if reading.unpaid and reading.order.pay_by <= reading.now:
        unpaid_orders().lapse([reading.order.public_id])
        reading = _as_it_stands(order_pk)
    return reading


def _as_it_stands(order_pk: int) -> Reading:
    order = Order.objects.annotate(read_at=Now()).prefetch_related("lines__product").get(pk=order_pk)
    return Reading(order, order.read_at)


def read_all(buyer: User, *, limit: int, offset: int) -> tuple[list[Reading], int]:
    """Read a page of the buyer's orders, newest first, and say how many there are in all."""
    unpaid_orders().lapse_overdue(Q(buyer=buyer))
    orders = Order.objects.filter(buyer=buyer).prefetch_related("lines__product").order_by("-id")
    now = database_now()
    return [Reading(order, now) for order in orders[offset : offset + limit]], orders.count()
