"""Static check of the reminders: each must be sent once per deadline, and by a hook that the shop wrote."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db.models import DateTimeField

from lapse.integrations.django.rows.columns import column_of
from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.orders.since import LONGEST, Since

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_reminders(orders: type[UnpaidOrders[Any]]) -> Iterator[checks.CheckMessage]:
    """Yield an error for each part of the reminders that is missing or wrong."""
    for message, hint in _problems(orders):
        yield checks.Error(message, hint=hint, obj=orders, id="lapse.E042")


def _problems(orders: type[UnpaidOrders[Any]]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and what to do about it."""
    remind: object = orders.remind
    hooked = orders.on_remind is not UnpaidOrders.on_remind
    if remind is None:  # also in a shop whose setting switches its reminders off
        return
    if not (isinstance(remind, timedelta) and timedelta(0) < remind <= LONGEST):
        yield (
            f"`remind` must be a time before the deadline, but it is {remind!r}.",
            "Write remind = timedelta(minutes=5), or leave it out.",
        )
    if isinstance(orders.deadline, Since):
        yield (
            "`remind` needs a deadline that is stored, and `deadline` is Since(…).",
            "Give the order a field for its deadline, with an index, and name it in `deadline`.",
        )
    if not hooked:
        yield (
            "`remind` is declared and on_remind() is missing, so no reminder would be sent.",
            "Define on_remind(self, orders); it runs in the transaction that writes `reminded`.",
        )
    field = column_of(orders.model, orders.reminded) if isinstance(orders.reminded, str) else None
    if not isinstance(field, DateTimeField) or not field.null or orders.reminded == orders.deadline:
        found = "is missing" if orders.reminded is None else f"is {orders.reminded!r}"
        yield (
            f"`reminded` {found}: each order would be reminded of again and again, or never.",
            f"Add reminded = models.DateTimeField(null=True, editable=False) to {orders.model.__name__}, and name it.",
        )
