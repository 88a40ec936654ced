"""Django's record of this app."""

from django.apps import AppConfig


class Buyers(AppConfig):
    """The app of buyers."""

    name = "shop.buyers"
    label = "buyers"
