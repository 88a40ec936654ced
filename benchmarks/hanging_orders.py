"""Orders of the reference shop, with and without an attempt to pay, for `hanging_gateway`. Django is set up before."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import F

from lapse.integrations.django import unpaid_orders
from lapse.testing.alipay import Buyer
from shop.catalogue.models import Product
from shop.database import database_now
from shop.orders import stock
from shop.orders.models import Line, Order, Reservation, Status
from shop.payments.links import payment_link

HOUR = timedelta(hours=1)


def open_shop() -> None:
    """Make the product and the buyer."""
    User.objects.create_user("bench")
    Product.objects.create(sku="CUP", name="Cup", price=58, on_hand=1_000_000, picture="shop/products/gaiwan.svg")


def place(count: int) -> list[Order]:
    """Place orders of one piece each, due in an hour and not armed. Return them."""
    cup, buyer, now = Product.objects.get(), User.objects.get(), database_now()
    stock.reserve({cup.sku: count})
    orders = Order.objects.bulk_create(
        Order(buyer=buyer, status=Status.AWAITING_PAYMENT, total=cup.price, placed_at=now, pay_by=now + HOUR)
        for _ in range(count)
    )
    lines = Line.objects.bulk_create(Line(order=order, product=cup, quantity=1, unit_price=58) for order in orders)
    Reservation.objects.bulk_create(Reservation(line=line) for line in lines)
    return orders


def scan(orders: list[Order]) -> None:
    """Let a buyer open the link of each order and scan the code, so that the gateway has to close a trade."""
    for order in orders:
        assert Buyer(payment_link(order.pk)).scan()


def fall_due(orders: list[Order], begin: datetime, gap: timedelta) -> None:
    """Let the orders fall due one after the other, `gap` apart, and arm them."""
    for step, order in enumerate(orders):
        order.pay_by = begin + step * gap
    Order.objects.bulk_update(orders, ["pay_by"], batch_size=1000)
    unpaid_orders().arm(*orders)


def waiting(orders: list[Order]) -> int:
    """Return how many of these orders are not cancelled."""
    return Order.objects.filter(pk__in=[order.pk for order in orders]).exclude(status=Status.CANCELLED).count()


def lateness(orders: list[Order]) -> list[float]:
    """Return the ms from the deadline to the update that cancelled, by the database's clock, ascending."""
    rows = Order.objects.filter(pk__in=[order.pk for order in orders], cancelled_at__isnull=False)
    found = rows.annotate(late=F("cancelled_at") - F("pay_by")).values_list("late", flat=True)
    return sorted(late / timedelta(milliseconds=1) for late in found)
