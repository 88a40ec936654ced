"""Static check of the windows: an order must have time enough to be paid at its gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core import checks

from lapse.orders.since import Since

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lapse.integrations.django.unpaid_orders import UnpaidOrders


def check_windows(orders: type[UnpaidOrders[Any]]) -> Iterator[checks.CheckMessage]:
    """Yield an error for each window that is none, and for each that is shorter than its gateway's `least_window`."""
    declared: Mapping[str, object] = orders.windows
    for name, window in declared.items():
        if not (isinstance(window, timedelta) and window > timedelta(0)):
            yield checks.Error(
                f"`windows` says {window!r} for gateway {name!r}, which is no time to pay.",
                hint="Write the time that your checkout gives, as timedelta(minutes=30).",
                obj=orders,
                id="lapse.E041",
            )
    for name, gateway in orders.gateways.items():
        least: object = getattr(gateway, "least_window", None)
        if least is None:
            continue
        if not isinstance(least, timedelta):
            yield checks.Error(
                f"`least_window` of gateway {name!r} must be a timedelta, but it is {least!r}.",
                hint="Write the shortest time to pay in which an order can be paid there, or leave it out.",
                obj=orders,
                id="lapse.E041",
            )
            continue
        window = orders.deadline.window if isinstance(orders.deadline, Since) else declared.get(name)
        if isinstance(window, timedelta) and window < least:
            yield checks.Error(
                f"The time to pay is {window}, but at gateway {name!r} no order can be paid within less than {least}.",
                hint="Give your orders a longer time to pay, or make the gateway's margins shorter.",
                obj=orders,
                id="lapse.E041",
            )
