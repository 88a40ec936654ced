"""Places orders for the tests."""

from datetime import timedelta

from django.utils import timezone

from tests.django.adopter.models import Line, Order, PayAttempt, Product

OVERDUE = timedelta(minutes=-1)
NOT_YET = timedelta(hours=1)


def place(count: int = 1, *, due: timedelta = OVERDUE, product: Product | None = None) -> list[Order]:
    """Place orders of one piece each, due so long from now; the stock goes down."""
    product = product or Product.objects.create(stock=count)
    placed = Order.objects.count()
    pay_by = timezone.now() + due
    orders = Order.objects.bulk_create(
        Order(code=f"code-{placed + number}", pay_by=pay_by + timedelta(microseconds=number)) for number in range(count)
    )
    Line.objects.bulk_create(Line(order=order, product=product) for order in orders)
    product.stock -= count
    product.save()
    return orders


def begin_to_pay(order: Order) -> PayAttempt:
    """Open an attempt to pay the order."""
    return PayAttempt.objects.create(order=order, number=f"try-{PayAttempt.objects.count()}-{order.pk}")


def stock(order: Order) -> int:
    """Return the stock of the order's product."""
    return Product.objects.get(line__order=order).stock


def status(order: Order) -> str:
    """Return the order's state as it is stored."""
    return Order.objects.values_list("status", flat=True).get(pk=order.pk)
