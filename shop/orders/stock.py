"""Stock: what is on sale, and pieces that are held for an order, then released or sold.

Each change is one statement for any number of lines or orders.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from django.db.models import F, Q

from lapse.integrations.django import unpaid_orders
from shop import database
from shop.catalogue.models import Product
from shop.orders.models import Line


class Reserved(NamedTuple):
    """The result for one SKU. `held` is False if fewer pieces were available than wanted."""

    product_id: int
    sku: str
    price: Decimal
    available: int
    held: bool


def on_sale() -> list[Product]:
    """Return all products with what is available now.

    Overdue holds on products that seem sold out are lapsed first, so that no overdue hold turns a buyer away.
    """
    sold_out = Product.objects.filter(held__gt=0, held=F("on_hand"))
    if sold_out.exists():
        unpaid_orders().lapse_overdue(Q(pk__in=Line.objects.filter(product__in=sold_out).values("order_id")))
    return list(Product.objects.order_by("id"))


def reserve(wanted: Mapping[str, int]) -> dict[str, Reserved]:
    """Hold so many pieces of each SKU, lock the products until the transaction ends, and return a result per SKU.

    The results have every SKU that exists. Unless all SKUs exist and are held, the caller must roll back.
    """
    found = database.rows("orders/reserve", {"skus": list(wanted), "quantities": list(wanted.values())})
    return {row[1]: Reserved(*row) for row in found}


def release(order_pks: Sequence[int]) -> None:
    """Release what these orders hold. The caller has locked their rows."""
    database.run("orders/release", {"orders": list(order_pks)})


def consume(order_pks: Sequence[int]) -> None:
    """Sell what these orders hold. The caller has locked their rows."""
    database.run("orders/consume", {"orders": list(order_pks)})
