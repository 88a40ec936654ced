"""The attempts to pay, and the messages that gateways send about them."""

from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from lapse.integrations.django.attempts import STILL_OPEN, AbstractPaymentAttempt, State
from shop.orders.models import Order, Reason, Status

WORK_LIST = Q(state__in=[State.REFUND_DUE, State.REVIEW]) | ~Q(alarm="")
"""The attempts whose money is not where it belongs, or that have an alarm."""


class PaymentAttempt(AbstractPaymentAttempt):
    """One try to pay one order. Lapse keeps the row from the first question about it to the last."""

    # Protected: money may come long after the order's end, and has an outcome as long as these rows are there.
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="attempts")

    class Meta:
        """An order has at most one attempt that may still be paid."""

        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["order"], condition=STILL_OPEN, name="attempt_one_open_per_order"),
            models.CheckConstraint(condition=Q(state__in=list(State)), name="attempt_state_known"),
            models.CheckConstraint(
                condition=~Q(state=State.WRITTEN_OFF) | ~Q(written_off=""), name="attempt_written_off_with_a_reason"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["id"], name="attempt_work_list", condition=WORK_LIST),
        ]

    @property
    def kept(self) -> Decimal:
        """What the shop has of the buyer's money, in yuan."""
        return (self.paid or Decimal(0)) - self.refunded

    @property
    def can_reinstate(self) -> bool:
        """Whether a person may let the money pay its order, as far as the rows say. The stock may be gone."""
        expired = self.order.status == Status.CANCELLED and self.order.cancel_reason == Reason.EXPIRED
        takes = expired or self.order.status in (Status.AWAITING_PAYMENT, Status.CLOSING)
        return takes and self._waits and self.kept == self.amount

    @property
    def can_write_off(self) -> bool:
        """Whether a person may write the payment off: its money waits, or its report cannot be booked."""
        return self._waits or (self.alarm != "" and self.paid is None)

    @property
    def _waits(self) -> bool:
        """Whether the shop has money that waits, and no refund of it can be under way."""
        return self.state in (State.REVIEW, State.REFUND_DUE) and self.refunding is None


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
    """One message of a gateway, as it came. An accepted message took effect in the transaction that wrote it.

    `reference` is the shop's number of the attempt, and `provider_reference` the gateway's number of the payment.
    `status` is the gateway's own word. `refunded` is the total that was refunded until then, in yuan.
    """

    provider = models.CharField(max_length=40)
    judged = models.CharField(max_length=10, choices=Judged)
    reference = models.CharField(max_length=64, blank=True)
    provider_reference = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=64, blank=True)
    refunded = models.DecimalField(max_digits=16, decimal_places=2, default=0)
    raw = models.TextField()
    digest = models.CharField(max_length=64)
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Each state of a payment takes effect once, and each refund is a new state. A refused message is kept once."""

        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["provider", "provider_reference", "status", "refunded"],
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
        indexes: ClassVar = [models.Index(fields=["reference"], name="message_of_attempt")]

    def __str__(self) -> str:
        return f"{self.judged} {self.status} on {self.reference}"
