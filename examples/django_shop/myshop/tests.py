"""Lapse's test suite for a shop's own orders, on this shop: `python manage.py test`."""

from datetime import timedelta

from django.db import connections, transaction
from django.test import TransactionTestCase, override_settings
from django.utils import timezone
from lapse.integrations.django import unpaid_orders
from lapse.testing.orders import OrdersConformance

from myshop.models import Order, Product
from myshop.orders import pay, place


@override_settings(LAPSE_TIMER="memory://")
class LapsingTests(OrdersConformance[Order], TransactionTestCase):
    orders = staticmethod(unpaid_orders)
    transaction = staticmethod(transaction.atomic)
    close_connections = staticmethod(connections.close_all)

    def setUp(self):
        self.tea = Product.objects.create(name="tea", stock=1000)

    def place(self):
        return place(self.tea, 2, timedelta(minutes=30))

    def set_deadline(self, order, due_in):
        Order.objects.filter(pk=order.pk).update(pay_by=timezone.now() + due_in)

    def pay(self, order):
        pay(order)  # raises NotUnpaid, or pays
        return True

    def state(self, order):
        status = Order.objects.get(pk=order.pk).status
        return "unpaid" if status == "awaiting_payment" else status

    def stock(self):
        return Product.objects.get(pk=self.tea.pk).stock
