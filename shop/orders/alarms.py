"""The alarms about money in the visitor's language. Lapse stores each as an English sentence with its values."""

import hashlib
import re

from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from lapse.observability import visible

Text = str | Promise

SENTENCES: list[tuple[str, Text]] = [
    (
        r"payment (?P<number>.*) belongs to another attempt as well",
        gettext_lazy("payment %(number)s belongs to another attempt as well"),
    ),
    (
        r"two payments for one attempt: (?P<first>.*) and (?P<second>.*)",
        gettext_lazy("two payments for one attempt: %(first)s and %(second)s"),
    ),
    (
        r"the gateway reported a payment whose number cannot be stored: (?P<number>.*)",
        gettext_lazy("the gateway reported a payment whose number cannot be stored: %(number)s"),
    ),
    (
        r"the gateway reported an amount of (?P<amount>.*)",
        gettext_lazy("the gateway reported an amount of %(amount)s"),
    ),
    (
        r"the gateway does not know that (?P<amount>.*) was paid",
        gettext_lazy("the gateway does not know that %(amount)s was paid"),
    ),
    (
        r"the gateway reported a payment of (?P<amount>.*)",
        gettext_lazy("the gateway reported a payment of %(amount)s"),
    ),
    (
        r"the gateway reported that (?P<before>.*) was paid, and now (?P<now>.*)",
        gettext_lazy("the gateway reported that %(before)s was paid, and now %(now)s"),
    ),
    (
        r"(?P<paid>[^ ]*) was paid, (?P<back>[^ ]*) of it refunded, and (?P<due>[^ ]*) was due",
        gettext_lazy("%(paid)s was paid, %(back)s of it refunded, and %(due)s was due"),
    ),
    (
        r"(?P<paid>[^ ]*) was paid, and (?P<due>[^ ]*) was due",
        gettext_lazy("%(paid)s was paid, and %(due)s was due"),
    ),
    (
        r"(?P<paid>[^ ]*) was paid after the order was cancelled",
        gettext_lazy("%(paid)s was paid after the order was cancelled"),
    ),
    (
        r"(?P<paid>[^ ]*) was paid for an order that was paid before",
        gettext_lazy("%(paid)s was paid for an order that was paid before"),
    ),
    (
        r"the gateway refuses to refund (?P<amount>[^ ]*): it gave no reason",
        gettext_lazy("the gateway refuses to refund %(amount)s: it gave no reason"),
    ),
    (
        r"the gateway refuses to refund (?P<amount>[^ ]*): (?P<reason>.*)",
        gettext_lazy("the gateway refuses to refund %(amount)s: %(reason)s"),
    ),
    (
        r"the gateway was asked to refund (?P<asked>.*), and refunded (?P<done>.*)",
        gettext_lazy("the gateway was asked to refund %(asked)s, and refunded %(done)s"),
    ),
]
"""The form of each sentence that `lapse.orders` writes, and its text. The values are what a gateway reported."""

PATTERNS = [(re.compile(form, re.DOTALL), text) for form, text in SENTENCES]


def in_language(alarm: str) -> str | None:
    """Return the alarm in the visitor's language, its values made visible; None for a sentence of another form."""
    for pattern, text in PATTERNS:
        if found := pattern.fullmatch(alarm):
            return str(text) % {name: visible(value) for name, value in found.groupdict().items()}
    return None


def fingerprint(sentence: str) -> str:
    """Return what stands for an alarm in a form: a browser would change a line end in the sentence."""
    return hashlib.sha256(sentence.encode()).hexdigest()[:16]


def alarm(sentence: str) -> str | SafeString:
    """Return the alarm for a page, marked as English if it has no translation; "" for none."""
    if not sentence:
        return ""
    known = in_language(sentence)
    return format_html('<span lang="en">{}</span>', visible(sentence)) if known is None else known
