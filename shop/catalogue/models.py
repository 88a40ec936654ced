"""The product."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q


class Product(models.Model):
    """One thing for sale. Of `on_hand` pieces, `held` belong to orders that are not paid yet."""

    sku = models.CharField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    on_hand = models.PositiveIntegerField()
    held = models.PositiveIntegerField(default=0)
    picture = models.CharField(max_length=120, blank=True)

    class Meta:
        """The database itself refuses to oversell."""

        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(price__gte=0), name="product_price_not_negative"),
            models.CheckConstraint(condition=Q(held__gte=0, held__lte=F("on_hand")), name="product_never_oversold"),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"

    @property
    def available(self) -> int:
        """How many can be sold now."""
        return self.on_hand - self.held
