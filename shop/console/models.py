"""What the console itself keeps: signs of life of the workers, goods that came in, and what a merchant may do."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy

from shop.catalogue.models import Product


class WorkerPulse(models.Model):
    """One worker process as it was last heard of. Times are the database's."""

    host = models.CharField(gettext_lazy("host"), max_length=255)
    pid = models.PositiveIntegerField(gettext_lazy("process"))
    mechanism = models.CharField(gettext_lazy("timer"), max_length=60)
    started_at = models.DateTimeField(gettext_lazy("started"), db_default=Now())
    seen_at = models.DateTimeField(gettext_lazy("last seen"), db_default=Now())
    handled = models.PositiveBigIntegerField(gettext_lazy("orders handled"), default=0)
    """Deadlines handled since it started, and overdue orders that its sweep lapsed."""
    latest_ms = models.PositiveBigIntegerField(gettext_lazy("latest lateness, ms"), null=True)
    """How late the latest of its last batch was handed out, by the timer's clock."""

    class Meta:
        """The newest first."""

        ordering: ClassVar = ["-seen_at", "pk"]
        verbose_name = gettext_lazy("worker")
        verbose_name_plural = gettext_lazy("workers")

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Restock(models.Model):
    """Pieces that were added by hand, or taken away: a trail of what the shop has not sold."""

    key = models.CharField(max_length=64, unique=True)
    """The form's own; the same form sent twice adds once."""
    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="restocks")
    pieces = models.IntegerField()
    who = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        """The newest first."""

        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.CheckConstraint(condition=~Q(pieces=0), name="restock_of_something")]
        verbose_name = gettext_lazy("restock")
        verbose_name_plural = gettext_lazy("restocks")

    def __str__(self) -> str:
        return f"{self.pieces:+} of product {self.product_id}"


class Rights(models.Model):
    """No table: the permissions that no model of the shop has by itself."""

    class Meta:
        """Given to people by their group."""

        managed = False
        default_permissions = ()
        permissions: ClassVar = [
            ("cancel_orders", "Can cancel unpaid orders"),
            ("revive_deadlines", "Can revive buried deadlines"),
        ]

    def __str__(self) -> str:
        return "rights"
