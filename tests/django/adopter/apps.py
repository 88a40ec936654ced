"""The small shop's application. It has no migrations: its tables are made from the models."""

from django.apps import AppConfig


class AdopterConfig(AppConfig):
    """Named so that it collides with nobody's."""

    name = "tests.django.adopter"
    label = "adopter"
    default_auto_field = "django.db.models.BigAutoField"
