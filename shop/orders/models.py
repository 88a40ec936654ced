"""The order, its lines, the stock that it holds, and its audit trail."""

import secrets
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from shop import database
from shop.catalogue.models import Product
from shop.orders.events import Actor, AttemptLike, Subject, What


class Status(models.TextChoices):
    """The status of an order."""

    AWAITING_PAYMENT = "awaiting_payment"
    CLOSING = "closing"
    """Being cancelled: its payment attempt is closed first. A payment that arrives now still pays the order."""
    PAID = "paid"
    CANCELLED = "cancelled"


UNPAID = Q(status__in=[Status.AWAITING_PAYMENT, Status.CLOSING])
"""The condition under which an order holds stock and may lapse."""


class Reason(models.TextChoices):
    """Why an order was cancelled."""

    EXPIRED = "expired"
    BUYER = "buyer"
    MERCHANT = "merchant"


def new_public_id() -> str:
    """Return a new public id of an order: 32 hexadecimal digits that cannot be guessed."""
    return secrets.token_hex(16)


class Order(models.Model):
    """One order of one buyer. All its times are the database's."""

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    buyer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="orders", db_index=False)
    status = models.CharField(max_length=20, choices=Status)
    cancel_reason = models.CharField(max_length=10, choices=Reason, blank=True, default="")
    total = models.DecimalField(max_digits=16, decimal_places=2)
    placed_at = models.DateTimeField()
    pay_by = models.DateTimeField()
    paid_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    reminded_of = models.DateTimeField(null=True, editable=False)
    """The deadline of which the buyer was reminded. Lapse writes it."""
    idempotency_key = models.CharField(max_length=200, null=True)  # noqa: DJ001  # null: any number of orders without
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    language = models.CharField(max_length=10, blank=True, default="", db_default="")
    """The language in which the order was placed, for the mails to its buyer. Empty: the shop's own language."""

    recorded: str = ""
    """The status that the audit trail knows: that of the row when it was read. "": a new order."""

    class Meta:
        """The index that finds overdue orders has unpaid rows only, so it stays small."""

        indexes: ClassVar = [
            models.Index(fields=["pay_by", "public_id"], name="order_unpaid_by_deadline", condition=UNPAID),
            models.Index(fields=["buyer", "-id"], name="order_by_buyer"),
            models.Index(fields=["placed_at"], name="order_by_placing"),
            models.Index(fields=["paid_at"], name="order_by_payment", condition=Q(status=Status.PAID)),
            models.Index(
                fields=["cancel_reason", "cancelled_at"],
                name="order_by_cancelling",
                condition=Q(status=Status.CANCELLED),
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["buyer", "idempotency_key"], name="order_once_per_idempotency_key"),
            models.CheckConstraint(condition=Q(status__in=list(Status)), name="order_status_known"),
            models.CheckConstraint(condition=Q(total__gte=0), name="order_total_not_negative"),
            models.CheckConstraint(
                condition=~Q(status=Status.PAID) | Q(paid_at__isnull=False), name="order_paid_has_its_time"
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.CANCELLED)
                | (Q(cancelled_at__isnull=False) & Q(cancel_reason__in=list(Reason))),
                name="order_cancelled_has_time_and_reason",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @classmethod
    def from_db(
        cls,
        db: str | None,
        field_names: Collection[str],
        values: Collection[Any],
        **options: Any,  # noqa: ANN401
    ) -> Self:
        """Return the row as an instance that remembers the status with which it was read."""
        order = super().from_db(db, field_names, values, **options)
        order.recorded = order.__dict__.get("status", "")
        return order


class Line(models.Model):
    """A quantity of one product at the price that the buyer saw."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines", db_index=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="lines")
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=10, decimal_places=2)

    class Meta:
        """A product is at most once in an order."""

        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["order", "product"], name="line_once_per_product"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="line_of_something"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of product {self.product_id}"


class Hold(models.TextChoices):
    """The state of the stock that a line holds."""

    HELD = "held"
    CONSUMED = "consumed"
    RELEASED = "released"


class Reservation(models.Model):
    """The stock of one line. It leaves `held` exactly once, so no stock can be released twice."""

    line = models.ForeignKey(Line, on_delete=models.CASCADE, related_name="reservations")
    state = models.CharField(max_length=10, choices=Hold, default=Hold.HELD)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        """A line has one reservation that is held or consumed, and may have released ones."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["line"], condition=~Q(state=Hold.RELEASED), name="reservation_one_that_counts"
            ),
            models.CheckConstraint(condition=Q(state__in=list(Hold)), name="reservation_state_known"),
        ]

    def __str__(self) -> str:
        return f"{self.state} for line {self.line_id}"


class AuditEntry(models.Model):
    """One event of an order or of one of its attempts. Written in the transaction of the event, never changed.

    `subject_id` is the attempt's reference; "" for the order itself, and for old entries about attempts. `before` and
    `after` are the subject's states. `amount` is the order's total; for an attempt, what the shop has of its money
    after the event, or what the buyer has to pay before money has come. `refunded` is what went back to the buyer with
    this event. `reason` is a code that pages translate, or the text of a person. `detail` is text.
    """

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="audit_trail")
    at = models.DateTimeField(db_default=Now())
    what = models.CharField(max_length=20)
    subject = models.CharField(max_length=10, default=Subject.ORDER)
    subject_id = models.CharField(max_length=64, blank=True, default="")
    before = models.CharField(max_length=20, blank=True, default="")
    after = models.CharField(max_length=20, blank=True, default="")
    reason = models.CharField(max_length=200, blank=True, default="")
    actor = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=100, blank=True, default="")
    amount = models.DecimalField(max_digits=16, decimal_places=2, null=True)
    refunded = models.DecimalField(max_digits=16, decimal_places=2, null=True)
    detail = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        """In the order of the events."""

        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.subject} {self.what} by {self.actor} {self.actor_id}".rstrip()

    @staticmethod
    def record(orders: Iterable[Order], what: str, by: Actor | str, *, reason: str = "", detail: str = "") -> None:
        """Add an entry to the audit trail of each of the orders: one statement, in the caller's transaction.

        Each instance must have been read after its row was locked, and must have its new status. `by` may be an actor's
        text, such as "buyer 7". Raises ValueError for an unknown `what`.
        """
        changed = list(orders)
        actor = Actor.read(str(by))
        values = {
            "what": What(what).value,
            "reason": str(reason)[:200],
            "actor": actor.kind.value,
            "actor_id": actor.id[:100],
            "detail": detail[:500],
            "orders": [order.pk for order in changed],
            "before": [order.recorded for order in changed],
            "after": [str(order.status) for order in changed],
            "amounts": [order.total for order in changed],
        }
        database.run("orders/record", values)
        for order in changed:
            order.recorded = str(order.status)

    @staticmethod
    def record_attempt(
        order: Order,
        what: str,
        by: Actor | str,
        attempt: AttemptLike,
        *,
        before: str,
        refunded: Decimal | None = None,
        reason: str = "",
        detail: str = "",
    ) -> None:
        """Add an entry about an attempt, which has its new state, to the order's audit trail.

        `before` is its state before the event, `refunded` what went back with the event. In the caller's transaction.
        Raises ValueError for an unknown `what`.
        """
        actor = Actor.read(str(by))
        AuditEntry.objects.create(
            order=order,
            what=What(what),
            subject=Subject.ATTEMPT,
            subject_id=attempt.reference,
            before=before,
            after=attempt.state,
            reason=reason[:200],
            actor=actor.kind,
            actor_id=actor.id[:100],
            amount=attempt.amount if attempt.paid is None else attempt.paid - attempt.refunded,
            refunded=refunded,
            detail=detail[:500],
        )
