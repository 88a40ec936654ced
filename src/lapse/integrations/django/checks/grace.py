"""Static check of the grace: a time that is added to every deadline must be one, and must not be negative."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core import checks

from lapse.orders.since import LONGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapse.integrations.django.unpaid_orders import UnpaidOrders


def check_grace(orders: type[UnpaidOrders[Any]]) -> Iterator[checks.CheckMessage]:
    """Yield an error if `grace` is no timedelta, if it is negative, or if it is longer than any database's times."""
    grace: object = orders.grace
    if not isinstance(grace, timedelta):
        yield checks.Error(
            f"`grace` must be a timedelta, but it is {grace!r}.",
            hint="Write grace = timedelta(seconds=30), or leave it out.",
            obj=orders,
            id="lapse.E040",
        )
    elif not timedelta(0) <= grace <= LONGEST:
        problem = "so orders would lapse before their deadline" if grace < timedelta(0) else "which is beyond 100 years"
        yield checks.Error(
            f"`grace` is {grace}, {problem}.",
            hint="Declare how long after its deadline an order lapses, as timedelta(seconds=30), or leave it out.",
            obj=orders,
            id="lapse.E040",
        )
