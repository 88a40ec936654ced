"""How the console writes times, durations and the values of rows."""

import re
from datetime import UTC, datetime

from django import template
from django.utils.translation import gettext_lazy

from lapse.observability import visible, visible_key
from shop.orders.history import STATES

register = template.Library()
register.filter("visible", visible)
register.filter("visible_key", visible_key)

SECOND, MINUTE = 1000, 60_000

WORDS = STATES | {
    "placed": gettext_lazy("placed"),
    "expired": gettext_lazy("expired"),
    "buyer": gettext_lazy("by the buyer"),
    "merchant": gettext_lazy("by the merchant"),
    "waiting": gettext_lazy("waiting"),
    "delivered": gettext_lazy("delivered"),
    "buried": gettext_lazy("buried"),
    "given_up": gettext_lazy("given up"),
}
"""The values of rows in the visitor's language. What is stored is the same in every language."""


@register.filter
def duration_ms(milliseconds: float | None) -> str:
    """Return milliseconds as people read them: "–" for None, "2.4 ms", "38 ms", "1.2 s", "14 min"."""
    if milliseconds is None:
        return "–"
    number = float(milliseconds)
    if number >= 10 * MINUTE:
        return f"{number / MINUTE:.0f} min"
    if number >= SECOND:
        return f"{number / SECOND:.1f} s"
    return f"{number:.0f} ms" if number >= 10 else f"{number:.1f} ms"  # noqa: PLR2004  # two digits are enough


@register.filter
def word(value: str) -> str:
    """Return a value in the visitor's language. Unknown values stay."""
    return str(WORDS.get(value, value))


@register.filter
def moment(at: datetime | None) -> str:
    """Return a time to the millisecond, UTC; "–" for None."""
    return "–" if not at else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


@register.filter
def slug_or_dash(key: str) -> str:
    """Return the key if it can be part of a URL, else "-", which is no order."""
    return key if re.fullmatch(r"[-\w]+", key, re.ASCII) else "-"
