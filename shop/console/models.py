"""What the console stores: the workers' heartbeats, pieces added by hand, and the permissions of merchants."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy

from shop.catalogue.models import Product
from shop.payments.models import PaymentAttempt


class WorkerHeartbeat(models.Model):
    """The last heartbeat of one worker process. Times are the database's."""

    host = models.CharField(gettext_lazy("host"), max_length=255)
    pid = models.PositiveIntegerField(gettext_lazy("process"))
    mechanism = models.CharField(gettext_lazy("timer"), max_length=60)
    started_at = models.DateTimeField(gettext_lazy("started"), db_default=Now())
    seen_at = models.DateTimeField(gettext_lazy("last seen"), db_default=Now())
    handled = models.PositiveBigIntegerField(gettext_lazy("orders handled"), default=0)
    """Deadlines handled since the worker started, and overdue orders that its sweep lapsed."""
    latest_ms = models.PositiveBigIntegerField(gettext_lazy("greatest lateness, ms"), null=True)
    """The greatest lateness in the worker's last batch, by the timer's clock."""

    class Meta:
        """The newest first. The table keeps the name that it had under the model's first name."""

        db_table = "console_workerpulse"
        ordering: ClassVar = ["-seen_at", "pk"]
        verbose_name = gettext_lazy("worker")
        verbose_name_plural = gettext_lazy("workers")

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Restock(models.Model):
    """Pieces that a merchant added or took away: the audit trail of stock changes that are no sale."""

    key = models.CharField(max_length=64, unique=True)
    """The key of the form: the same form sent twice adds once."""
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


class Assignment(models.Model):
    """Who works on a payment of the work list, so that two people do not."""

    attempt = models.OneToOneField(PaymentAttempt, on_delete=models.CASCADE, related_name="assignment")
    staff = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="assignments")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        """Named as the pages name it."""

        verbose_name = gettext_lazy("assignment")
        verbose_name_plural = gettext_lazy("assignments")

    def __str__(self) -> str:
        return f"payment {self.attempt_id} is assigned to user {self.staff_id}"


class Note(models.Model):
    """What a member of staff wrote about a payment, for the others. Never changed."""

    key = models.CharField(max_length=64, unique=True)
    """The key of the form: the same form sent twice writes once."""
    attempt = models.ForeignKey(PaymentAttempt, on_delete=models.CASCADE, related_name="notes")
    text = models.CharField(max_length=1000)
    who = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        """In the order of writing."""

        ordering: ClassVar = ["id"]
        verbose_name = gettext_lazy("note")
        verbose_name_plural = gettext_lazy("notes")

    def __str__(self) -> str:
        return f"note on payment {self.attempt_id}"


class Rights(models.Model):
    """No table: the permissions that belong to no model of the shop."""

    class Meta:
        """Granted to users by their group."""

        managed = False
        default_permissions = ()
        permissions: ClassVar = [
            ("cancel_orders", "Can cancel unpaid orders"),
            ("extend_orders", "Can extend unpaid orders and revive expired ones"),
            ("revive_deadlines", "Can revive buried deadlines"),
            ("settle_money", "Can decide about payments that no order can take"),
        ]

    def __str__(self) -> str:
        return "rights"
