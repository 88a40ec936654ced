"""Alipay in this shop: the settings from the environment, the gateway opened with them, and the links of attempts.

The shop's settings import this module, so it imports no model.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from lapse import ConfigError
from lapse.gateways.alipay import AlipayGateway, AlipaySettings
from lapse.orders import Attempt, Ruling, Verdict

if TYPE_CHECKING:
    from shop.payments.models import PaymentAttempt

log = logging.getLogger("shop.payments")

PROVIDER = "alipay"
REQUIRED = {
    "app_id": "ALIPAY_APP_ID",
    "seller_id": "ALIPAY_SELLER_ID",
    "private_key": "ALIPAY_PRIVATE_KEY_FILE",
    "alipay_public_key": "ALIPAY_PUBLIC_KEY_FILE",
    "notify_url": "PUBLIC_URL",
}
"""The required fields of `AlipaySettings`, and the environment variable that sets each."""


def read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of `AlipaySettings`; a missing one is "". Raises ImproperlyConfigured for an unreadable file.

    The values are not checked here: the shop starts without them, and the check below reports them.
    """
    public = environment.get("PUBLIC_URL", "").strip().rstrip("/")
    return {
        "app_id": environment.get("ALIPAY_APP_ID", "").strip(),
        "seller_id": environment.get("ALIPAY_SELLER_ID", "").strip(),
        "private_key": _key(environment, "ALIPAY_PRIVATE_KEY"),
        "alipay_public_key": _key(environment, "ALIPAY_PUBLIC_KEY"),
        "gateway_url": environment.get("ALIPAY_GATEWAY_URL", "").strip() or AlipaySettings.PRODUCTION_URL,
        "notify_url": f"{public}/payment/alipay/notify/" if public else "",
        "return_url": f"{public}/payment/alipay/return/" if public else "",
    }


def origin(url: str) -> str:
    """Return the scheme, host and port of an address, as a content security policy names them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class AlipayPayments:
    """The shop's payment gateway at Alipay."""

    def __init__(self, gateway: AlipayGateway) -> None:
        self._gateway = gateway

    @property
    def least_time(self) -> timedelta:
        """A buyer needs this long at Alipay's cashier."""
        return settings.LEAST_TIME_TO_PAY

    def link_ends(self, pay_by: datetime) -> datetime:
        """Return when a link must end so that it cannot be paid at the deadline."""
        return self._gateway.link_ends(pay_by)

    def link(self, attempt: "PaymentAttempt") -> str:
        """Return the signed link, which ends when the attempt does. No call is made."""
        if attempt.expires_at is None:
            raise ValueError(f"attempt {attempt.out_trade_no} has no end, and a link at Alipay must have one")
        subject = f"Kiln and Leaf, order {attempt.order.public_id[:8]}"
        return self._gateway.page_pay_url(attempt.out_trade_no, attempt.amount, subject, attempt.expires_at)

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt at Alipay and return the verdict, PAID if money came first."""
        return self._gateway.close(attempt)

    def query(self, attempt: Attempt) -> Ruling:
        """Return Alipay's verdict on the attempt. Raises AlipayError where there is no answer."""
        trade = self._gateway.query(attempt.reference)
        return Ruling(attempt, Verdict.UNKNOWN) if trade is None else trade.ruling(attempt)


def open_alipay() -> AlipayGateway | None:
    """Return the gateway that the settings describe, opened once per process; None if any setting is missing.

    Raises ConfigError if a setting is wrong.
    """
    return None if _missing() else _open(tuple(settings.ALIPAY.items()))


def alipay_payments() -> AlipayPayments | None:
    """Return the payment gateway, or None if its settings are missing or wrong. Wrong settings are logged."""
    try:
        gateway = open_alipay()
    except ConfigError as error:
        log.error("Alipay's settings are wrong: %s", error)  # noqa: TRY400  # the trace would add nothing
        return None
    return None if gateway is None else AlipayPayments(gateway)


@checks.register
def check_alipay(**_: object) -> list[checks.CheckMessage]:
    """Return what is wrong with Alipay's settings, if the shop has chosen Alipay. No call is made."""
    if settings.SHOP_GATEWAY != PROVIDER:
        return []
    if missing := _missing():
        return [
            checks.Warning(
                "Orders cannot be paid: Alipay's settings are not complete.",
                hint=f"Set {', '.join(missing)}.",
                id="payments.W001",
            )
        ]
    try:
        open_alipay()
    except ConfigError as error:
        hint = "See ALIPAY_… in shop/settings.py."
        return [checks.Error(f"Orders cannot be paid: {error}.", hint=hint, id="payments.E001")]
    return []


def _missing() -> list[str]:
    """Return the environment variables that must still be set."""
    return [variable for field, variable in REQUIRED.items() if not settings.ALIPAY[field]]


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


def _key(environment: Mapping[str, str], name: str) -> str:
    file = environment.get(f"{name}_FILE", "").strip()
    if not file:
        return environment.get(name, "").strip()
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE names a file that cannot be read: {error}") from error
