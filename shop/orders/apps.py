"""Django's record of this app."""

from django.apps import AppConfig


class Orders(AppConfig):
    """The app of orders."""

    name = "shop.orders"
    label = "orders"
