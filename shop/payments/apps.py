"""Django's record of this app."""

from django.apps import AppConfig


class Payments(AppConfig):
    """The app of payments."""

    name = "shop.payments"
    label = "payments"

    def ready(self) -> None:
        """Import the gateways: each registers the checks of its settings."""
        from shop.payments import gateways  # noqa: F401, PLC0415  # it needs the models, which are ready by now
