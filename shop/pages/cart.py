"""The cart. It is in the session, so that a visitor can fill it before signing in. It holds no stock."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.http import HttpRequest

from shop.catalogue.models import Product
from shop.orders.placing import MOST_LINES, MOST_PIECES

KEY = "cart"


@dataclass(frozen=True, slots=True)
class Row:
    """A quantity of one product. `seen` is the price that the buyer saw last."""

    product: Product
    quantity: int
    seen: Decimal

    @property
    def price_changed(self) -> bool:
        """Whether the price differs from the price that the buyer saw."""
        return self.seen != self.product.price

    @property
    def short(self) -> bool:
        """Whether fewer pieces are available."""
        return self.quantity > self.product.available

    @property
    def total(self) -> Decimal:
        """The quantity at the current price."""
        return self.quantity * self.product.price


class Cart:
    """The cart of one session. The session stores SKU → [quantity, price seen]."""

    def __init__(self, request: HttpRequest) -> None:
        self._session = request.session
        stored = self._session.get(KEY, {})
        self._lines: dict[str, list[object]] = dict(stored) if isinstance(stored, dict) else {}

    @property
    def pieces(self) -> int:
        """The number of pieces in the cart."""
        return sum(_whole(line[0]) for line in self._lines.values())

    def quantity(self, sku: str) -> int:
        """Return how many pieces of this SKU are in the cart."""
        return _whole(self._lines[sku][0]) if sku in self._lines else 0

    def put(self, product: Product, quantity: int) -> bool:
        """Set the quantity of a product at the current price and return True; return False if the cart is full.

        The quantity 0 removes the product.
        """
        if quantity <= 0:
            self.remove([product.sku])
            return True
        if product.sku not in self._lines and len(self._lines) >= MOST_LINES:
            return False
        self._lines[product.sku] = [min(quantity, MOST_PIECES), f"{product.price:.2f}"]
        self._store()
        return True

    def remove(self, skus: Iterable[str]) -> None:
        """Remove these products."""
        for sku in skus:
            self._lines.pop(sku, None)
        self._store()

    def rows(self) -> list[Row]:
        """Return the rows with their products as they are now, in the order of the catalogue."""
        products = Product.objects.filter(sku__in=list(self._lines)).order_by("id")
        return [
            Row(product, self.quantity(product.sku), _price(self._lines[product.sku][1], product.price))
            for product in products
        ]

    def _store(self) -> None:
        if self._lines:
            self._session[KEY] = self._lines
        else:
            self._session.pop(KEY, None)


def header(request: HttpRequest) -> dict[str, Any]:
    """Return what every template can show: the number of pieces in the cart, which is read only if it is shown."""
    return {"cart_count": lambda: Cart(request).pieces}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _price(text: object, otherwise: Decimal) -> Decimal:
    try:
        return Decimal(str(text))
    except InvalidOperation:
        return otherwise
