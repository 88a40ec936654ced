"""`manage.py check`: whether the shop can take money, and with `--deploy`, whether it takes it for real."""

from collections.abc import Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from lapse.engine.errors import ConfigError
from shop.payments import alipay


def check_payments(*, app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[checks.CheckMessage]:
    """Check the settings of the chosen gateway. Nobody is asked."""
    del app_configs
    if settings.SHOP_GATEWAY != "alipay":
        return []
    if missing := alipay.missing():
        return [
            checks.Warning(
                "Orders cannot be paid: Alipay's settings are not complete.",
                hint=f"Set {', '.join(missing)}.",
                id="payments.W001",
            )
        ]
    try:
        alipay.opened()
    except ConfigError as error:
        return [
            checks.Error(
                f"Orders cannot be paid: {error}.", hint="See ALIPAY_… in shop/settings.py.", id="payments.E001"
            )
        ]
    return []


def check_real_money(*, app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[checks.CheckMessage]:
    """Warn of the development gateway where orders are to be real."""
    del app_configs
    if settings.SHOP_GATEWAY != "development":
        return []
    return [
        checks.Warning(
            "SHOP_GATEWAY is development: whoever presses its button has paid, and no money moves.",
            hint="Unset it where orders are real.",
            id="payments.W002",
        )
    ]
