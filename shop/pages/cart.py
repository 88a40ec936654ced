"""The cart. A visitor's is in the session; a buyer's is kept with the account. It holds no stock."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest

from shop.buyers.models import SavedCart, new_key
from shop.catalogue.models import Product
from shop.orders.models import Order
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
    """The cart of one request: SKU → [quantity, price seen].

    A visitor's cart joins the account's at the first request after the sign-in. `joined` then is True if the account's
    cart had more. `key` is the idempotency key of the order that this cart becomes; a visitor's cart has none.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._session = request.session
        self._buyer = request.user if isinstance(request.user, User) else None
        self.key = ""
        self.joined = False
        stored = self._session.get(KEY, {})
        self._lines: dict[str, list[object]] = dict(stored) if isinstance(stored, dict) else {}
        if self._buyer is None:
            return
        if self._lines:
            self._join(self._lines)
        elif saved := SavedCart.objects.filter(user=self._buyer).first():
            self._lines, self.key = saved.lines, saved.key

    @property
    def pieces(self) -> int:
        """The number of pieces in the cart."""
        return sum(_whole(line[0]) for line in self._lines.values())

    @property
    def state(self) -> str:
        """A digest of products and quantities, from which a form learns whether its page is out of date."""
        lines = sorted((sku, _whole(line[0])) for sku, line in self._lines.items())
        return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:32]

    def quantity(self, sku: str) -> int:
        """Return how many pieces of this SKU are in the cart."""
        return _whole(self._lines[sku][0]) if sku in self._lines else 0

    def put(self, product: Product, quantity: int) -> bool:
        """Set the quantity of a product at the current price and return True; return False if the cart is full.

        The quantity 0 removes the product.
        """
        with self._change():
            if quantity <= 0:
                self._lines.pop(product.sku, None)
                return True
            if product.sku not in self._lines and len(self._lines) >= MOST_LINES:
                return False
            self._lines[product.sku] = [min(quantity, MOST_PIECES), f"{product.price:.2f}"]
            return True

    def remove(self, skus: Iterable[str]) -> None:
        """Remove these products."""
        with self._change():
            self._remove(skus)

    def ordered(self, order: Order) -> None:
        """Remove the products of the order that this cart has become, and take the next key.

        Does nothing if that is done already, by another tab or device.
        """
        skus = order.lines.values_list("product__sku", flat=True)
        with self._change():
            if order.idempotency_key == self.key:
                self._remove(skus)
                self.key = new_key()

    def rows(self) -> list[Row]:
        """Return the rows with their products as they are now, in the order of the catalogue."""
        products = Product.objects.filter(sku__in=list(self._lines)).order_by("id")
        return [
            Row(product, self.quantity(product.sku), _price(self._lines[product.sku][1], product.price))
            for product in products
        ]

    def _remove(self, skus: Iterable[str]) -> None:
        for sku in skus:
            self._lines.pop(sku, None)

    def _join(self, visitors: dict[str, list[object]]) -> None:
        """Add what the visitor put into the cart. Of a product in both carts, the larger quantity counts.

        A sum would double a cart that the buyer has filled again.
        """
        with self._change():
            self.joined = any(self.quantity(sku) > _whole(visitors.get(sku, [0])[0]) for sku in self._lines)
            for sku, (quantity, seen) in visitors.items():
                if sku in self._lines or len(self._lines) < MOST_LINES:
                    self._lines[sku] = [max(_whole(quantity), self.quantity(sku)), seen]
        del self._session[KEY]

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Change the lines and the key as they are stored now: another tab or device may have changed them."""
        if self._buyer is None:
            yield
            if self._lines:
                self._session[KEY] = self._lines
            else:
                self._session.pop(KEY, None)
            return
        with transaction.atomic():
            saved, _ = SavedCart.objects.select_for_update().get_or_create(user=self._buyer)
            self._lines, self.key = saved.lines, saved.key
            yield
            saved.lines, saved.key = self._lines, self.key
            saved.save()


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
