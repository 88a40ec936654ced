"""Django's record of this app."""

from django.apps import AppConfig


class Payments(AppConfig):
    """The app of payments."""

    name = "shop.payments"
    label = "payments"
