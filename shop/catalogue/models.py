"""The product."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import get_language


class Product(models.Model):
    """One product. Of its `on_hand` pieces, `held` are reserved by unpaid orders."""

    sku = models.CharField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    name_zh = models.CharField(max_length=120, blank=True, default="")
    description_zh = models.TextField(blank=True, default="")
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
    def shown_name(self) -> str:
        """The name in the visitor's language. A product without a Chinese name shows the English one."""
        return (is_chinese() and self.name_zh) or self.name

    @property
    def shown_description(self) -> str:
        """The description in the visitor's language."""
        return (is_chinese() and self.description_zh) or self.description

    @property
    def available(self) -> int:
        """The number of pieces that can be sold now."""
        return self.on_hand - self.held


def is_chinese() -> bool:
    """Return True if this request is answered in Chinese."""
    return (get_language() or "").startswith("zh")
