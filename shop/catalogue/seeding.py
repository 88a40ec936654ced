"""Filling an empty catalogue."""

from shop.catalogue.assortment import ASSORTMENT
from shop.catalogue.models import Product


def seed_products() -> int:
    """Add the products that are missing and say how many; those that exist keep their price and stock."""
    products = [
        Product(
            sku=item.sku,
            name=item.name,
            description=item.description,
            price=item.price,
            on_hand=item.on_hand,
            picture=f"shop/products/{item.sku.lower()}.svg",
        )
        for item in ASSORTMENT
    ]
    before = Product.objects.count()
    Product.objects.bulk_create(products, ignore_conflicts=True)
    return Product.objects.count() - before
