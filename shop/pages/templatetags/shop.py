"""How the pages write amounts, times and stock."""

from datetime import datetime
from decimal import Decimal

from django import template
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from lapse.observability import visible
from shop.catalogue.models import Product

register = template.Library()
register.filter("visible", visible)

FEW = 5
"""With at most so many pieces available, the text says that only so many are left."""


@register.filter
def yuan(amount: Decimal | float) -> str:
    """Return an amount as ¥1,234.50."""
    return f"¥{amount:,.2f}"


@register.filter
def moment(at: datetime) -> SafeString:
    """Return a time in UTC. A script replaces it by the time in the visitor's time zone."""
    written = date_format(at, pgettext("date format", "j F Y, H:i"))
    return format_html('<time datetime="{}" data-local>{} UTC</time>', at.isoformat(), written)


@register.simple_tag
def stock_text(product: Product) -> str:
    """Return the text that says how much of a product is available."""
    texts = stock_texts()
    if not product.available:
        return texts["none"]
    return texts["few" if product.available <= FEW else "many"].replace("{n}", str(product.available))


@register.simple_tag
def stock_texts() -> dict[str, str]:
    """Return the same texts for the script that updates them. {n} stands for the number."""
    return {"many": _("{n} available"), "few": _("only {n} left"), "none": _("sold out"), "few_up_to": str(FEW)}
