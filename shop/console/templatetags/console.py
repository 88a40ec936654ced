"""How the console writes times, durations and the values of rows."""

import re
from datetime import UTC, datetime

from django import template
from django.utils.translation import gettext_lazy

from lapse.observability import visible, visible_key

register = template.Library()
register.filter("visible", visible)
register.filter("visible_key", visible_key)

SECOND, MINUTE = 1000, 60_000

WORDS = {
    "placed": gettext_lazy("placed"),
    "awaiting_payment": gettext_lazy("awaiting payment"),
    "closing": gettext_lazy("closing"),
    "paid": gettext_lazy("paid"),
    "cancelled": gettext_lazy("cancelled"),
    "expired": gettext_lazy("expired"),
    "buyer": gettext_lazy("by the buyer"),
    "merchant": gettext_lazy("by the merchant"),
    "held": gettext_lazy("held"),
    "consumed": gettext_lazy("sold"),
    "released": gettext_lazy("released"),
    "created": gettext_lazy("created"),
    "pending": gettext_lazy("open"),
    "succeeded": gettext_lazy("succeeded"),
    "closed": gettext_lazy("closed"),
    "failed": gettext_lazy("failed"),
    "unknown": gettext_lazy("no answer"),
    "orphaned": gettext_lazy("refund due"),
    "refund due": gettext_lazy("refund due"),
    "refund decided": gettext_lazy("refund decided"),
    "alarm removed": gettext_lazy("alarm removed"),
    "gateway asked again": gettext_lazy("payment service asked again"),
    "refunded": gettext_lazy("refunded"),
    "review": gettext_lazy("needs a decision"),
    "reinstated": gettext_lazy("reinstated"),
    "payment begun": gettext_lazy("payment started"),
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
    """Return a value, or each part of "cancelled: expired", in the visitor's language. Unknown values stay."""
    return ": ".join(str(WORDS.get(part, part)) for part in value.split(": "))


@register.filter
def moment(at: datetime | None) -> str:
    """Return a time to the millisecond, UTC; "–" for None."""
    return "–" if not at else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


@register.filter
def slug_or_dash(key: str) -> str:
    """Return the key if it can be part of a URL, else "-", which is no order."""
    return key if re.fullmatch(r"[-\w]+", key, re.ASCII) else "-"
