"""Alipay as this shop uses it: opened by the settings, and the links of its attempts."""

import logging
from datetime import datetime, timedelta
from functools import cache

from django.conf import settings

from lapse.engine.errors import ConfigError
from lapse.gateways.alipay import AlipayGateway, AlipaySettings
from lapse.orders.gateway import Attempt, Ruling
from shop.payments.models import PaymentAttempt

log = logging.getLogger("shop.payments")

VARIABLES = {
    "app_id": "ALIPAY_APP_ID",
    "seller_id": "ALIPAY_SELLER_ID",
    "private_key": "ALIPAY_PRIVATE_KEY_FILE",
    "alipay_public_key": "ALIPAY_PUBLIC_KEY_FILE",
    "notify_url": "PUBLIC_URL",
}
"""What must be set, by the variable that sets it."""


class AlipayPayments:
    """Makes the links of attempts, and closes attempts."""

    def __init__(self, gateway: AlipayGateway) -> None:
        self._gateway = gateway

    @property
    def least(self) -> timedelta:
        """With less time than this nobody is sent to the cashier any more."""
        return settings.LEAST_TIME_TO_PAY

    def link_ends(self, pay_by: datetime) -> datetime:
        """When a link must end so that it cannot be paid at the deadline."""
        return self._gateway.link_ends(pay_by)

    def link(self, attempt: PaymentAttempt) -> str:
        """Make the link; nobody is asked. It ends when the attempt says."""
        if attempt.expires_at is None:
            raise ValueError(f"attempt {attempt.out_trade_no} has no end, and a link at Alipay must have one")
        subject = f"Kiln and Leaf, order {attempt.order.public_id[:8]}"
        return self._gateway.page_pay_url(attempt.out_trade_no, attempt.amount, subject, attempt.expires_at)

    def close(self, attempt: Attempt) -> Ruling:
        """Close it, or find that it was paid."""
        return self._gateway.close(attempt)


def missing() -> list[str]:
    """Name the variables that must still be set."""
    return [variable for field, variable in VARIABLES.items() if not settings.ALIPAY[field]]


def opened() -> AlipayGateway | None:
    """Open the gateway that the settings describe, once per process; None where some are missing.

    Raises ConfigError where one is wrong.
    """
    return None if missing() else _open(tuple(settings.ALIPAY.items()))


def payments() -> AlipayPayments | None:
    """Give Alipay to pay with, or None where the settings are missing or wrong, which the log then says."""
    try:
        gateway = opened()
    except ConfigError as error:
        log.error("Alipay's settings are wrong: %s", error)  # noqa: TRY400  # the trace would say nothing more
        return None
    return None if gateway is None else AlipayPayments(gateway)


@cache
def _open(fields: tuple[tuple[str, str], ...]) -> AlipayGateway:
    given = dict(fields)
    return AlipayGateway(
        AlipaySettings(
            app_id=given["app_id"],
            seller_id=given["seller_id"],
            private_key=given["private_key"],
            alipay_public_key=given["alipay_public_key"],
            gateway_url=given["gateway_url"],
            notify_url=given["notify_url"],
            return_url=given["return_url"],
        )
    )
