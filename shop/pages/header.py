"""What the head of every page shows."""

from typing import Any

from django.http import HttpRequest

from shop.pages.cart import Cart


def header(request: HttpRequest) -> dict[str, Any]:
    """Give every template the number of pieces in the cart, read only where it is shown."""
    return {"cart_count": lambda: Cart(request).pieces}
