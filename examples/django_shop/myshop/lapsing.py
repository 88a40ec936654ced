from django.db.models import Q
from lapse.integrations.django import UnpaidOrders

from myshop.models import Order
from myshop.stock import give_stock_back


class ShopOrders(UnpaidOrders[Order]):
    model = Order
    unpaid = Q(status="awaiting_payment")
    deadline = "pay_by"
    lapsed = {"status": "cancelled"}

    def on_lapse(self, orders):
        give_stock_back(orders)  # in the transaction that cancelled them, once per order
