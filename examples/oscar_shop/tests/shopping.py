"""Buyers: products with a stock, orders of several products, and the numbers that must add up."""

from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Sum
from django.utils.timezone import now
from oscar.core.loading import get_class, get_model
from oscar.test import factories

Basket = get_model("basket", "Basket")
Order = get_model("order", "Order")
Line = get_model("order", "Line")
StockRecord = get_model("partner", "StockRecord")
Source = get_model("payment", "Source")
Strategy = get_class("partner.strategy", "Default")

PLENTY = 1000


def product(title="tea", stock=PLENTY):
    """Create a product with so many pieces in stock, at 3.50 each."""
    return factories.create_product(title=title, num_in_stock=stock, price=Decimal("3.50"))


def place(quantities, **fields):
    """Place an order of so many pieces of each product by Oscar's OrderCreator, as its checkout does."""
    basket = Basket.objects.create()
    basket.strategy = Strategy()
    for item, quantity in quantities.items():
        basket.add_product(item, quantity)
    order = factories.create_order(basket=basket, **fields)
    order.refresh_from_db()  # its number is an int until it has been read
    return order


def due_in(order, seconds):
    """Make the order one whose deadline is in so many seconds; negative: one that is overdue."""
    order.date_placed = now() + timedelta(seconds=seconds - settings.PAY_WITHIN)
    Order.objects.filter(pk=order.pk).update(date_placed=order.date_placed)  # only that: others may pay it meanwhile
    return order


def allocated(item):
    """Return how many pieces of the product orders hold."""
    return item.stockrecords.get().num_allocated


def in_stock(item):
    """Return how many pieces of the product are in the warehouse."""
    return item.stockrecords.get().num_in_stock


def assert_books_agree():
    """Each order is paid and holds its stock, or has no money and holds none, or is still Pending and holds its stock.

    The allocation of each stock record is the sum of its lines'.
    """
    for order in Order.objects.all():
        money = sum(source.amount_debited for source in order.sources.all())
        statuses = {line.status for line in order.lines.all()}
        held = {line.num_allocated == line.quantity for line in order.lines.all()}
        changes = list(order.status_changes.values_list("old_status", "new_status"))
        match order.status:
            case "Pending":
                assert (money, statuses, held, changes) == (0, {"Pending"}, {True}, [])
            case "Cancelled":
                assert (money, statuses, held) == (0, {"Cancelled"}, {False}), order.number
                assert changes == [("Pending", "Cancelled")]
            case "Being processed":
                assert (money, statuses, held) == (order.total_incl_tax, {"Being processed"}, {True}), order.number
                assert changes == [("Pending", "Being processed")]
    for record in StockRecord.objects.all():
        by_lines = Line.objects.filter(stockrecord=record).aggregate(held=Sum("num_allocated"))["held"]
        assert (record.num_allocated or 0) == (by_lines or 0), record
