"""Lapse in a Django shop: a base class for its orders, three commands, and checks of the set-up."""

from lapse.integrations.django.rows.transactions import OpenTransaction
from lapse.integrations.django.settings import timer, unpaid_orders
from lapse.integrations.django.timer_setting import timer_url
from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.orders.hold import NotUnpaid
from lapse.orders.since import Since

__all__ = ["NotUnpaid", "OpenTransaction", "Since", "UnpaidOrders", "timer", "timer_url", "unpaid_orders"]
