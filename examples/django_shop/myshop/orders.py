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
    """The order was paid or cancelled before."""


@transaction.atomic
def place(product: Product, quantity: int, window: timedelta) -> Order:
    """Hold the stock, begin to wait for the money and return the order. Raises SoldOut."""
    if not take_stock(product, quantity):
        raise SoldOut(product.name)
    order = Order.objects.create(product=product, quantity=quantity, pay_by=Now() + window)
    unpaid_orders().arm(order)
    return order


def pay(order: Order) -> None:
    """Make the order paid. Raises NotUnpaid if it was paid or cancelled before."""
    with unpaid_orders().hold(order) as held:  # locked, known to be unpaid, disarmed with the commit
        held.status = "paid"
        held.save(update_fields=["status"])


def cancel(order: Order, who: str) -> None:
    """Cancel the order for a person, before its deadline. Raises TooLate if it was paid or cancelled before."""
    result = unpaid_orders().cancel([order], by=who, reason="buyer")[str(order.pk)]
    if result.outcome is not Outcome.LAPSED:
        raise TooLate(f"order {order.pk}")
