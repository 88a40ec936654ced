"""Django's record of this app."""

from django.apps import AppConfig


class Live(AppConfig):
    """The app of the streams."""

    name = "shop.live"
    label = "live"
