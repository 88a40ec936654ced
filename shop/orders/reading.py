"""Reading orders. An overdue order lapses before it is shown, with or without a worker."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now

from lapse.integrations.django import unpaid_orders
from shop.database import database_now
from shop.orders.models import Order, Status


@dataclass(frozen=True, slots=True)
class Reading:
    """An order, and the database's time at which it was read."""

    order: Order
    now: datetime

    @property
    def unpaid(self) -> bool:
        """Whether the order holds stock and is neither paid nor cancelled yet."""
        return self.order.status in (Status.AWAITING_PAYMENT, Status.CLOSING)

    @property
    def payable(self) -> bool:
        """Whether the order may be paid now."""
        return self.order.status == Status.AWAITING_PAYMENT and self.now < self.order.pay_by

    @property
    def in_grace(self) -> bool:
        """Whether the time to pay is over and the order is not due yet: a payment under way still pays it."""
        waits = self.order.status == Status.AWAITING_PAYMENT and not self.payable
        return waits and self.now < self.order.pay_by + unpaid_orders().grace

    @property
    def status(self) -> str:
        """The order's status. After its deadline an unpaid order reads as closing: it cannot be paid by a new link."""
        return Status.CLOSING.value if self.unpaid and not self.payable else self.order.status


def read(buyer: User, public_id: str) -> Reading | None:
    """Return one of the buyer's orders; None if it does not exist or belongs to another buyer."""
    pk = own(buyer, public_id)
    return None if pk is None else fresh(pk)


def own(buyer: User, public_id: str) -> int | None:
    """Return the primary key of one of the buyer's orders; None if it does not exist or belongs to another buyer."""
    if not public_id.isalnum():  # PostgreSQL refuses a zero character, for example
        return None
    return Order.objects.filter(buyer=buyer, public_id=public_id).values_list("pk", flat=True).first()


def ordered_with(buyer: User, key: str) -> Order | None:
    """Return the order that the buyer placed with this idempotency key, or None."""
    return Order.objects.filter(buyer=buyer, idempotency_key=key).first() if key.isalnum() else None


def fresh(order_pk: int) -> Reading:
    """Return the order with its lines, lapsed if it was overdue. Raises Order.DoesNotExist."""
    reading = _read(order_pk)
    if reading.unpaid and not reading.payable and not reading.in_grace:
        unpaid_orders().lapse_overdue(Q(pk=order_pk), limit=1)  # waits for a gateway for a second at most
        reading = _read(order_pk)
    return reading


def _read(order_pk: int) -> Reading:
    order = Order.objects.annotate(read_at=Now()).prefetch_related("lines__product").get(pk=order_pk)
    return Reading(order, order.read_at)


def read_all(buyer: User, *, limit: int, offset: int) -> tuple[list[Reading], int]:
    """Return a page of the buyer's orders, newest first, and the number of all of them."""
    unpaid_orders().lapse_overdue(Q(buyer=buyer))
    orders = Order.objects.filter(buyer=buyer).prefetch_related("lines__product").order_by("-id")
    now = database_now()
    return [Reading(order, now) for order in orders[offset : offset + limit]], orders.count()
