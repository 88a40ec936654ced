"""The tables of a shop whose attempts Lapse keeps."""

from django.db import models

from lapse.integrations.django.attempts import AbstractPaymentAttempt


class Cup(models.Model):
    """A product with so many pieces that are not held."""

    stock = models.IntegerField()

    class Meta:
        """In the application of the other wirings."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"{self.stock} cups"


class CupOrder(models.Model):
    """An order of one piece. `turnover` is what its payments brought, less what was refunded."""

    cup = models.ForeignKey(Cup, models.CASCADE)
    status = models.CharField(max_length=20, default="awaiting")
    reason = models.CharField(max_length=20, blank=True, default="")
    pay_by = models.DateTimeField(db_index=True)
    turnover = models.DecimalField(max_digits=16, decimal_places=2, default=0)

    class Meta:
        """In the application of the other wirings."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"{self.status} order {self.pk}"


class CupAttempt(AbstractPaymentAttempt):
    """One try to pay an order of cups."""

    order = models.ForeignKey(CupOrder, models.CASCADE, related_name="attempts")

    class Meta:
        """In the application of the other wirings."""

        app_label = "wirings"


class Detached(AbstractPaymentAttempt):
    """An attempt to pay no order at all."""

    class Meta:
        """In the application of the other wirings."""

        app_label = "wirings"
