"""Filling an empty catalogue."""

from shop.catalogue.assortment import ASSORTMENT
from shop.catalogue.models import Product


def seed_products() -> int:
    """Add the products that are missing and say how many; those that exist keep their price and stock.

    One that has no Chinese name yet gets it.
    """
    products = [
        Product(
            sku=item.sku,
            name=item.name,
            description=item.description,
            name_zh=item.name_zh,
            description_zh=item.description_zh,
            price=item.price,
            on_hand=item.on_hand,
            picture=f"shop/products/{item.sku.lower()}.svg",
        )
        for item in ASSORTMENT
    ]
    before = Product.objects.count()
    Product.objects.bulk_create(products, ignore_conflicts=True)
    added = Product.objects.count() - before
    unnamed = {product.sku: product for product in Product.objects.filter(name_zh="", description_zh="")}
    named = [item for item in ASSORTMENT if item.sku in unnamed]
    for item in named:
        unnamed[item.sku].name_zh, unnamed[item.sku].description_zh = item.name_zh, item.description_zh
    Product.objects.bulk_update([unnamed[item.sku] for item in named], ["name_zh", "description_zh"])
    return added
