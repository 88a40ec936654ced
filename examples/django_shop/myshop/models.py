"""Products with a stock, and orders that hold a part of it."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


class Product(models.Model):
    """A product for sale. `stock` is the number of pieces that no order holds."""

    name = models.CharField(max_length=100, unique=True)
    stock = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """A quantity of one product, to be paid by `pay_by`. Status: awaiting_payment, paid or cancelled."""

    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField()
    status = models.CharField(max_length=20, default="awaiting_payment")
    pay_by = models.DateTimeField()

    class Meta:
        """The index holds unpaid orders only, so it stays small."""

        indexes: ClassVar = [
            models.Index(fields=["pay_by"], name="order_unpaid", condition=Q(status="awaiting_payment")),
        ]

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"
