"""Django's record of this app."""

from django.apps import AppConfig
from django.core import checks


class Payments(AppConfig):
    """The app of payments."""

    name = "shop.payments"
    label = "payments"

    def ready(self) -> None:
        """Register the check of the settings."""
        from shop.payments.checks import check_payments  # noqa: PLC0415  # it needs the models

        checks.register(check_payments)
