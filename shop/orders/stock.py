"""Stock: held for an order, then given back or sold. Each is one statement, whatever the number of lines or orders."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from shop import named_sql


class Reserved(NamedTuple):
    """The answer for one SKU; `held` is False where fewer were available than wanted."""

    product_id: int
    sku: str
    price: Decimal
    available: int
    held: bool


def reserve(wanted: Mapping[str, int]) -> dict[str, Reserved]:
    """Hold so many of each SKU, locking the products until the transaction ends.

    The answer has every SKU that exists. Unless each is there and held, the caller must roll back.
    """
    found = named_sql.rows("orders/reserve", {"skus": list(wanted), "quantities": list(wanted.values())})
    return {row[1]: Reserved(*row) for row in found}


def release(order_pks: Sequence[int]) -> None:
    """Give back what these orders hold. Their rows are locked by the caller."""
    named_sql.run("orders/release", {"orders": list(order_pks)})


def consume(order_pks: Sequence[int]) -> None:
    """Sell what these orders hold. Their rows are locked by the caller."""
    named_sql.run("orders/consume", {"orders": list(order_pks)})
