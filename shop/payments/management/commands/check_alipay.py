"""`manage.py check_alipay`: asks Alipay whether both sides believe each other's signatures, before the first order."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lapse import ConfigError
from lapse.gateways.alipay import AlipayError
from shop.payments.alipay import open_alipay


class Command(BaseCommand):
    """Ends with status 1 if orders cannot be paid by Alipay."""

    help = (
        "Query a trade that does not exist at Alipay. The exit code is 1 if the keys, the app or the address is wrong."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:  # noqa: ANN401  # Django's signature
        """Make one call and print what became of it."""
        try:
            gateway = open_alipay()
            if gateway is None:
                raise CommandError("Alipay's settings are not complete. `manage.py check` names what is missing.")
            gateway.probe()
        except (ConfigError, AlipayError) as error:
            raise CommandError(f"Orders cannot be paid: {error}.", returncode=1) from error
        for warning in gateway.settings.warnings():
            self.stdout.write(f"{warning}.")
        self.stdout.write(f"Alipay at {gateway.settings.gateway_url} and this shop believe each other's signatures.")
