"""The products."""

from decimal import Decimal

from django.http import HttpRequest
from django.templatetags.static import static
from ninja import Router, Schema

from shop.api.buyers import BuyerToken
from shop.api.problems import Problem
from shop.orders.stock import on_sale

router = Router(tags=["products"])


class ProductOut(Schema):
    """A product. `available` is how many pieces can be ordered now."""

    sku: str
    name: str
    description: str
    price: Decimal
    available: int
    picture: str


@router.get("/products", auth=BuyerToken(), response={200: list[ProductOut], 401: Problem}, summary="List the products")
def list_products(request: HttpRequest) -> list[ProductOut]:
    """Return every product with its price and how many pieces are available."""
    return [
        ProductOut(
            sku=product.sku,
            name=product.name,
            description=product.description,
            price=product.price,
            available=product.available,
            picture=request.build_absolute_uri(static(product.picture)) if product.picture else "",
        )
        for product in on_sale()
    ]
