"""The number and the amount of one event on one day."""

from typing import ClassVar

from django.db import models


class Event(models.TextChoices):
    """What is counted."""

    PLACED = "placed"
    PAID = "paid"
    EXPIRED = "expired"
    BUYER = "buyer", "cancelled by the buyer"
    MERCHANT = "merchant", "cancelled by the merchant"


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
