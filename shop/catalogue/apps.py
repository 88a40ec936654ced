"""Django's record of this app."""

from django.apps import AppConfig


class Catalogue(AppConfig):
    """The app of the catalogue."""

    name = "shop.catalogue"
    label = "catalogue"
