from django.apps import AppConfig
from lapse.integrations.django import unpaid_orders
from oscar.apps.order.signals import order_placed


class OscarShopConfig(AppConfig):
    name = "oscarshop"

    def ready(self):
        order_placed.connect(arm, dispatch_uid="lapse")


def arm(order, **_):
    """Arm the timer of an order that Oscar has just placed. The sweep finds an order whose timer was never armed."""
    if order.status == "Pending":  # a shop that takes the money first places its orders as "Being processed"
        unpaid_orders().arm(order)
