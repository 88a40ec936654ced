"""The application's one table: the windows of deadlines that are counted from another field (`Since`)."""

from typing import ClassVar

from django.db import models


class Window(models.Model):
    """The time to pay of orders that were placed from `since` on, until the window with the next number takes effect.

    `orders` is the name of the orders, and `field` the field that the window is counted from. `since` is by the clock
    of the database. The first window has no beginning: older orders have it too. A row is never changed or deleted.
    """

    orders = models.CharField(max_length=100)
    field = models.CharField(max_length=100)
    number = models.PositiveIntegerField()
    window = models.DurationField()
    since = models.DateTimeField()

    class Meta:
        """Two processes that record a window at once write one row: each number exists once."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["orders", "field", "number"], name="lapse_window_number"),
        ]

    def __str__(self) -> str:
        """Return the window and its beginning."""
        return f"{self.orders}: {self.window} after {self.field}, since {self.since}"
