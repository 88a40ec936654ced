"""Lapse's suite for a shop's own orders, on Oscar's: every race forced, two lapses, killed processes."""

from django.db import connections, transaction
from django.test import TransactionTestCase
from lapse.integrations.django import unpaid_orders
from lapse.testing.orders import OrdersConformance

from oscarshop.paying import pay
from shopping import Order, due_in, place, product

STATES = {"Pending": "unpaid", "Being processed": "paid", "Cancelled": "cancelled"}


class TestLapsing(OrdersConformance[Order], TransactionTestCase):
    """The suite, and what it must know of this shop."""

    transaction = staticmethod(transaction.atomic)
    close_connections = staticmethod(connections.close_all)

    def setUp(self):
        self.tea = product("tea")

    def orders(self):
        return unpaid_orders()

    def place(self):
        return place({self.tea: 2})

    def set_deadline(self, order, window):
        due_in(order, window.total_seconds())

    def pay(self, order):
        pay(order.number, order.total_incl_tax, f"visa-{order.number}")
        return True

    def state(self, order):
        # Oscar's own transition writes the lines as well. If Lapse wrote the status alone, they would differ.
        statuses = {Order.objects.get(pk=order.pk).status, *order.lines.values_list("status", flat=True)}
        assert len(statuses) == 1, f"the order and its lines are {statuses}"
        return STATES[statuses.pop()]

    def stock(self):
        return self.tea.stockrecords.get().net_stock_level
