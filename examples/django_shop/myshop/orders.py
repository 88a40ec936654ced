"""Placing, paying and cancelling an order. The timer is armed and disarmed with what is committed."""

from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now
from lapse.integrations.django import unpaid_orders
from lapse.orders import Outcome

from myshop.models import Order, Product
from myshop.stock import take_stock


class SoldOut(Exception):
    """Fewer pieces are in stock than wanted."""


class TooLate(Exception):
    """The order is cancelled, or was paid before."""


@transaction.atomic
def place(product: Product, quantity: int, window: timedelta) -> Order:
    """Hold the stock, begin to wait for the money and return the order. Raises SoldOut."""
    if not take_stock(product, quantity):
        raise SoldOut(product.name)
    order = Order.objects.create(product=product, quantity=quantity, pay_by=Now() + window)
    unpaid_orders().arm(order)
    return order


@transaction.atomic
def pay(order: Order) -> None:
    """Make the order paid if it still awaits payment. Raises TooLate."""
    if not Order.objects.filter(pk=order.pk, status="awaiting_payment").update(status="paid"):
        raise TooLate(f"order {order.pk}")
    unpaid_orders().disarm(order)


def cancel(order: Order, who: str) -> None:
    """Cancel the order for a person, before its deadline. Raises TooLate if it was paid or cancelled before."""
    result = unpaid_orders().cancel([order], by=who, reason="buyer")[str(order.pk)]
    if result.outcome is not Outcome.LAPSED:
        raise TooLate(f"order {order.pk}")
