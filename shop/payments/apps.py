"""Django's record of this app."""

from django.apps import AppConfig
from django.core import checks


class Payments(AppConfig):
    """The app of payments."""

    name = "shop.payments"
    label = "payments"

    def ready(self) -> None:
        """Register the checks of the settings."""
        from shop.payments.checks import check_payments, check_real_money  # noqa: PLC0415  # they need the models

        checks.register(check_payments)
        checks.register(check_real_money, deploy=True)
