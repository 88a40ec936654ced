"""Django's record of this app."""

from django.apps import AppConfig


class Figures(AppConfig):
    """The app of the figures of each day."""

    name = "shop.statistics"
    label = "figures"
