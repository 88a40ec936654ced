"""The small shop's application. It has no migrations: its tables are made from the models."""

from django.apps import AppConfig


class AdopterConfig(AppConfig):
    """Its label is the label of no other application."""

    name = "tests.django.adopter"
    label = "adopter"
    default_auto_field = "django.db.models.BigAutoField"
