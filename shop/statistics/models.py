"""The number and the amount of one event on one day, and rows for the events that an order does not keep."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


class Event(models.TextChoices):
    """What is counted."""

    PLACED = "placed"
    PAID = "paid"
    EXPIRED = "expired"
    BUYER = "buyer", "cancelled by the buyer"
    MERCHANT = "merchant", "cancelled by the merchant"
    REINSTATED = "reinstated"
    """A cancelled order was reserved again, because its money came late. It stays counted as cancelled on the day of
    the cancel, and is counted as paid on the day of the reinstatement."""
    REFUNDED = "refunded"
    """Money of a paid order went back to the buyer: all of it, or a part. Each part counts once."""


class Tally(models.Model):
    """The number of orders and their amount for one event on one day (UTC, by the database's clock).

    Each event has a row of its own, so that placing and lapsing do not wait for each other's row.
    """

    day = models.DateField()
    event = models.CharField(max_length=10, choices=Event)
    count = models.BigIntegerField(default=0)
    amount = models.DecimalField(max_digits=24, decimal_places=2, default=0)

    class Meta:
        """One row per day and event."""

        ordering: ClassVar = ["-day", "event"]
        verbose_name_plural = "tallies"
        constraints: ClassVar = [models.UniqueConstraint(fields=["day", "event"], name="tally_once_per_day_and_event")]

    def __str__(self) -> str:
        return f"{self.day} {self.event}: {self.count} worth {self.amount}"


class Reinstatement(models.Model):
    """One reinstatement of a cancelled order, with the cancel that it undid: the order's own row forgets the cancel."""

    order = models.ForeignKey("orders.Order", on_delete=models.CASCADE, related_name="reinstatements")
    reason = models.CharField(max_length=10)
    """Why the order had been cancelled: an `Event`."""
    cancelled_at = models.DateTimeField()
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"order {self.order_id} reinstated at {self.at:%Y-%m-%d %H:%M:%S}"


class Refund(models.Model):
    """A part, or all, of a paid order's money that went back to the buyer. An attempt may have several of them."""

    order = models.ForeignKey("orders.Order", on_delete=models.CASCADE, related_name="refunds")
    reference = models.CharField(max_length=64)
    """The shop's number of the attempt whose money it was."""
    amount = models.DecimalField(max_digits=16, decimal_places=2)
    at = models.DateTimeField()

    class Meta:
        """No refund of nothing."""

        constraints: ClassVar = [models.CheckConstraint(condition=Q(amount__gt=0), name="refund_of_something")]

    def __str__(self) -> str:
        return f"{self.amount} of order {self.order_id} refunded at {self.at:%Y-%m-%d %H:%M:%S}"
