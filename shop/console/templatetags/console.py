"""How the console writes times, durations and the values of rows."""

import re
from datetime import UTC, datetime

from django import template
from django.utils.translation import gettext_lazy

from lapse.observability import visible, visible_key
from shop.orders.alarms import alarm, fingerprint
from shop.orders.history import STATES

register = template.Library()
register.filter("visible", visible)
register.filter("visible_key", visible_key)
register.filter("alarm", alarm)
register.filter("fingerprint", fingerprint)

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
    "accepted": gettext_lazy("accepted"),
    "signature": gettext_lazy("refused: its signature is wrong"),
    "app": gettext_lazy("refused: it is for another app"),
    "seller": gettext_lazy("refused: it is for another seller"),
    "amount": gettext_lazy("refused: its amount is wrong"),
    "malformed": gettext_lazy("refused: it cannot be read"),
    "mail": gettext_lazy("mail"),
    "no mail for this message": gettext_lazy("no mail for this message"),
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
def age(since: datetime, now: datetime) -> str:
    """Return how long ago a moment was: "12 s", "7 min", "5 h", "3 d"."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


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
