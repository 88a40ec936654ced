"""Stock is taken and given back by conditional statements for any number of rows."""

from collections.abc import Sequence

from django.db.models import Case, F, Sum, When

from myshop.models import Order, Product


def take_stock(product: Product, quantity: int) -> bool:
    """Take so many pieces, or none where there are fewer; return whether they were taken."""
    return bool(Product.objects.filter(pk=product.pk, stock__gte=quantity).update(stock=F("stock") - quantity))


def give_stock_back(orders: Sequence[Order]) -> None:
    """Make available what these orders held, in two statements for any number of orders."""
    held = Order.objects.filter(pk__in=[order.pk for order in orders]).values("product").annotate(total=Sum("quantity"))
    back = {row["product"]: row["total"] for row in held}
    cases = [When(pk=product, then=F("stock") + total) for product, total in back.items()]
    Product.objects.filter(pk__in=back).update(stock=Case(*cases))
