"""Django's record of this app."""

from django.apps import AppConfig


class Pages(AppConfig):
    """The app of the pages."""

    name = "shop.pages"
    label = "pages"
