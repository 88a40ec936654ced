"""What a buyer sees of the catalogue."""

from django.db.models import F, Q

from lapse.integrations.django import unpaid_orders
from shop.catalogue.models import Product
from shop.orders.models import Line


def on_sale() -> list[Product]:
    """List all products with what is available now.

    Where one seems sold out, overdue holds on it are lapsed first: no buyer is turned away by a hold that is over.
    """
    sold_out = Product.objects.filter(held__gt=0, held=F("on_hand"))
    if sold_out.exists():
        unpaid_orders().lapse_overdue(Q(pk__in=Line.objects.filter(product__in=sold_out).values("order_id")))
    return list(Product.objects.order_by("id"))
