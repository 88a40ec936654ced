"""How long an order may wait for its payment, by the payment method, and the shortest time in which it can be paid.

The shop's settings and `make run` import this module, so it imports no model.
"""

import re
from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings

from lapse.gateways.alipay import AlipaySettings

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST = timedelta(days=366)
ENTRY = re.compile(r"(\w+)=(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", re.ASCII)

MARGINS: Mapping[str, timedelta] = {
    "alipay": AlipaySettings.MARGIN + AlipaySettings.ROUNDING,
    "development": timedelta(0),
}
"""Each payment method, and how long before the order's deadline its link may end."""


def read_windows(text: str) -> dict[str, timedelta]:
    """Return the payment windows that the text names, as "alipay=30m,development=90s". Without a unit: seconds.

    Raises ValueError for an unknown payment method, for a method that is named twice, and for a time that is no window.
    """
    found: dict[str, timedelta] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        matched = ENTRY.fullmatch(entry)
        window = timedelta(seconds=float(matched[2]) * UNITS[matched[3]]) if matched else timedelta(0)
        if matched is None or not timedelta(0) < window <= LONGEST:
            raise ValueError(
                f"must be methods with a window of up to {LONGEST.days} days, as alipay=30m,development=90s, "
                f"not {entry!r}"
            )
        if matched[1] not in MARGINS:
            raise ValueError(f"names {matched[1]!r}, but the payment methods are {' and '.join(MARGINS)}")
        if matched[1] in found:
            raise ValueError(f"names {matched[1]} twice")
        found[matched[1]] = window
    return found


def least_window(method: str, least_time: timedelta) -> timedelta:
    """Return the shortest window in which an order can be paid: the link's margin, and the time that a buyer needs."""
    return MARGINS[method] + (least_time if MARGINS[method] else timedelta(0))


def refuse_short(method: str, window: timedelta, least_time: timedelta) -> None:
    """Raise ValueError if an order with this window could not be paid by this method."""
    least = least_window(method, least_time)
    if window < least:
        raise ValueError(
            f"is {seconds(window)} s for {method}, in which no order can be paid: a link ends up to "
            f"{seconds(MARGINS[method])} s before the deadline, and LEAST_TIME_TO_PAY is {seconds(least_time)} s. "
            f"Set at least {seconds(least)} s"
        )


def usual_window() -> timedelta:
    """Return the payment window of the payment method that the shop offers."""
    window: timedelta = settings.LAPSE_PAYMENT_WINDOWS.get(settings.SHOP_GATEWAY, settings.LAPSE_PAYMENT_WINDOW)
    return window


def seconds(time: timedelta) -> str:
    """Return the time in seconds, as a text without needless digits."""
    return f"{time.total_seconds():.10g}"
