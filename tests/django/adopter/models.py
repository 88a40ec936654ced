"""Products, orders with lines that hold stock, and attempts to pay."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


class Product(models.Model):
    """Something with a stock."""

    stock = models.IntegerField()

    def __str__(self) -> str:
        return f"product {self.pk}"


class Order(models.Model):
    """An order in one of the states awaiting, closing, paid and cancelled."""

    code = models.CharField(max_length=40, unique=True)
    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=20, blank=True, default="")

    class Meta:
        """The index that the sweep reads."""

        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["pay_by"], name="adopter_due", condition=Q(status__in=["awaiting", "closing"])),
        ]

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"


class Moment(models.Model):
    """An order that has no deadline, only the moment at which it was made."""

    status = models.CharField(max_length=20, default="awaiting")
    placed_at = models.DateTimeField(auto_now_add=True, db_index=True)

    def __str__(self) -> str:
        return f"order {self.pk} of {self.placed_at}"


class Line(models.Model):
    """One product of one order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.CASCADE)
    quantity = models.IntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product_id}"


class PayAttempt(models.Model):
    """One try to pay, in one of the states open, closed and paid."""

    order = models.ForeignKey(Order, models.CASCADE)
    number = models.CharField(max_length=40, unique=True)
    state = models.CharField(max_length=20, default="open")

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.state}"
