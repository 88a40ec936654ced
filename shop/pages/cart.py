"""The cart: kept in the session, so a visitor may fill it before signing in. It holds no stock."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from django.http import HttpRequest

from shop.catalogue.models import Product
from shop.orders.placing import MOST_LINES, MOST_PIECES

KEY = "cart"


@dataclass(frozen=True, slots=True)
class Row:
    """So many of a product; `seen` is the price that the buyer saw last."""

    product: Product
    quantity: int
    seen: Decimal

    @property
    def price_changed(self) -> bool:
        """Whether the buyer saw another price."""
        return self.seen != self.product.price

    @property
    def short(self) -> bool:
        """Whether fewer are available."""
        return self.quantity > self.product.available

    @property
    def total(self) -> Decimal:
        """Today's price of all of them."""
        return self.quantity * self.product.price


class Cart:
    """The cart of one session: SKU → [quantity, price seen]."""

    def __init__(self, request: HttpRequest) -> None:
        self._session = request.session
        kept = self._session.get(KEY, {})
        self._lines: dict[str, list[object]] = dict(kept) if isinstance(kept, dict) else {}

    @property
    def pieces(self) -> int:
        """How many things are in it."""
        return sum(_whole(line[0]) for line in self._lines.values())

    def quantity(self, sku: str) -> int:
        """How many of this are in it."""
        return _whole(self._lines[sku][0]) if sku in self._lines else 0

    def put(self, product: Product, quantity: int) -> bool:
        """Have so many of a product, at today's price; 0 takes it out. False where the cart is full."""
        if quantity <= 0:
            self.take_out([product.sku])
            return True
        if product.sku not in self._lines and len(self._lines) >= MOST_LINES:
            return False
        self._lines[product.sku] = [min(quantity, MOST_PIECES), f"{product.price:.2f}"]
        self._keep()
        return True

    def take_out(self, skus: Iterable[str]) -> None:
        """Take these out."""
        for sku in skus:
            self._lines.pop(sku, None)
        self._keep()

    def rows(self) -> list[Row]:
        """Give the lines with their products as they are now, in the order of the shelf."""
        products = Product.objects.filter(sku__in=list(self._lines)).order_by("id")
        return [
            Row(product, self.quantity(product.sku), _price(self._lines[product.sku][1], product.price))
            for product in products
        ]

    def _keep(self) -> None:
        if self._lines:
            self._session[KEY] = self._lines
        else:
            self._session.pop(KEY, None)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _price(text: object, otherwise: Decimal) -> Decimal:
    try:
        return Decimal(str(text))
    except InvalidOperation:
        return otherwise
