"""The attempt to pay."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from shop.orders.models import Order


class State(models.TextChoices):
    """Where an attempt stands."""

    CREATED = "created"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    CLOSED = "closed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The gateway was asked and did not say: it may still be paid."""
    ORPHANED = "orphaned"
    """Paid, but no order can take the money: somebody has to give it back."""


OPEN = Q(state__in=[State.CREATED, State.PENDING, State.UNKNOWN])
"""The attempts that may still be paid."""


class PaymentAttempt(models.Model):
    """One try to pay one order. `out_trade_no` is the shop's unguessable number for it, never used again."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="attempts")
    out_trade_no = models.CharField(max_length=64, unique=True)
    gateway = models.CharField(max_length=40)
    amount = models.DecimalField(max_digits=16, decimal_places=2)
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
