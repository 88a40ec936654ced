"""The application of these models. It has no migrations: its tables are made from the models."""

from importlib import import_module

from django.apps import AppConfig


class WiringsConfig(AppConfig):
    """Its label is the label of no other application."""

    name = "tests.django.wirings"
    label = "wirings"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the models that are not in `models`."""
        import_module("tests.django.wirings.shapes")
        import_module("tests.django.wirings.cups")
