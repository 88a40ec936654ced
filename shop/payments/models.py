"""The attempts to pay, and the messages that gateways send about them."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from shop.orders.models import Order


class State(models.TextChoices):
    """The state of an attempt."""

    CREATED = "created"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    CLOSED = "closed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The gateway did not answer, or its answer decides nothing: the attempt may still be paid."""
    ORPHANED = "orphaned"
    """Paid, but no order can take the money: the merchant has to give it back."""


OPEN = Q(state__in=[State.CREATED, State.PENDING, State.UNKNOWN])
"""The attempts that may still be paid."""

PAID = (State.SUCCEEDED, State.ORPHANED)
"""The states of an attempt whose money has come."""


class PaymentAttempt(models.Model):
    """One try to pay one order. `out_trade_no` is the shop's unguessable number of the attempt, never used again."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="attempts")
    out_trade_no = models.CharField(max_length=64, unique=True)
    gateway = models.CharField(max_length=40)
    amount = models.DecimalField(max_digits=16, decimal_places=2)
    expires_at = models.DateTimeField(null=True)
    """When the link itself ends, by the gateway's clock; a little before the order's deadline."""
    trade_no = models.CharField(max_length=64, blank=True, default="")
    """The gateway's number of the payment, once money has come."""
    state = models.CharField(max_length=10, choices=State, default=State.CREATED)
    made_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        """An order has at most one attempt that may still be paid."""

        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["order"], condition=OPEN, name="attempt_one_open_per_order"),
            models.CheckConstraint(condition=Q(state__in=list(State)), name="attempt_state_known"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["id"], name="attempt_orphaned", condition=Q(state=State.ORPHANED)),
        ]

    def __str__(self) -> str:
        return f"{self.state} attempt {self.out_trade_no}"


class Judged(models.TextChoices):
    """Whether the shop believed a gateway's message, or why not."""

    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    """The shop does not know its attempt."""
    SIGNATURE = "signature"
    APP = "app"
    SELLER = "seller"
    AMOUNT = "amount"
    MALFORMED = "malformed"


class GatewayMessage(models.Model):
    """One message of a gateway, as it came. An accepted message took effect in the transaction that wrote it."""

    provider = models.CharField(max_length=40)
    judged = models.CharField(max_length=10, choices=Judged)
    out_trade_no = models.CharField(max_length=64, blank=True)
    trade_no = models.CharField(max_length=64, blank=True)
    trade_status = models.CharField(max_length=64, blank=True)
    raw = models.TextField()
    digest = models.CharField(max_length=64)
    heard_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Each status of a trade takes effect once; a refused message is kept once."""

        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["provider", "trade_no", "trade_status"],
                condition=Q(judged=Judged.ACCEPTED),
                name="message_accepted_once",
            ),
            models.UniqueConstraint(
                fields=["provider", "judged", "digest"],
                condition=~Q(judged=Judged.ACCEPTED),
                name="message_refused_kept_once",
            ),
            models.CheckConstraint(condition=Q(judged__in=list(Judged)), name="message_judged_known"),
        ]
        indexes: ClassVar = [models.Index(fields=["out_trade_no"], name="message_of_attempt")]

    def __str__(self) -> str:
        return f"{self.judged} {self.trade_status} on {self.out_trade_no}"
