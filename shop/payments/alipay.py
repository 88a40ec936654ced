"""Alipay in this shop: the settings from the environment, the gateway opened with them, and the links of attempts.

The shop's settings import this module, so it imports no model.
"""

import logging
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from lapse import ConfigError
from lapse.gateways.alipay import AlipayGateway, AlipaySettings, read_key_file
from lapse.orders import Attempt, Refund, Ruling

if TYPE_CHECKING:
    from shop.payments.models import PaymentAttempt

log = logging.getLogger("shop.payments")

PROVIDER = "alipay"
KEY = {"alipay_public_key": "ALIPAY_PUBLIC_KEY"}
CERTIFICATES = {
    "app_certificate": "ALIPAY_APP_CERTIFICATE",
    "alipay_certificate": "ALIPAY_CERTIFICATE",
    "root_certificates": "ALIPAY_ROOT_CERTIFICATES",
}
"""The two modes: the fields of `AlipaySettings`, and the variables that set each. With `_FILE`, each names a file."""
TEXTS = {"private_key": "ALIPAY_PRIVATE_KEY", **KEY, **CERTIFICATES}
VARIABLES = {
    "app_id": "ALIPAY_APP_ID",
    "seller_id": "ALIPAY_SELLER_ID",
    **{field: f"{variable}_FILE" for field, variable in TEXTS.items()},
    "gateway_url": "ALIPAY_GATEWAY_URL",
    "notify_url": "PUBLIC_URL",
    "return_url": "PUBLIC_URL",
}
"""Every field that the environment sets, and the variable that sets it."""
ALWAYS = ("app_id", "seller_id", "private_key", "notify_url")


def read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of `AlipaySettings`; a missing one is "". Raises ImproperlyConfigured for an unreadable file.

    The values are not checked here: the shop starts without them, and the check below reports them.
    """
    public = environment.get("PUBLIC_URL", "").strip().rstrip("/")
    return {
        "app_id": environment.get("ALIPAY_APP_ID", "").strip(),
        "seller_id": environment.get("ALIPAY_SELLER_ID", "").strip(),
        **{field: _text(environment, variable) for field, variable in TEXTS.items()},
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

    @property
    def least_window(self) -> timedelta:
        """The time that a link loses before the deadline, and the time that a buyer needs."""
        return self._gateway.least_window + self.least_time

    def link_ends(self, pay_by: datetime) -> datetime:
        """Return when a link must end so that it cannot be paid at the deadline."""
        return self._gateway.link_ends(pay_by)

    def link(self, attempt: "PaymentAttempt") -> str:
        """Return the signed link, which ends when the attempt does. No call is made."""
        if attempt.expires_at is None:
            raise ValueError(f"attempt {attempt.reference} has no end, and a link at Alipay must have one")
        subject = f"Kiln and Leaf, order {attempt.order.public_id[:8]}"
        return self._gateway.page_pay_url(attempt.reference, attempt.amount, subject, attempt.expires_at)

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt at Alipay and return the verdict, PAID if money came first."""
        return self._gateway.close(attempt)

    def query(self, attempt: Attempt) -> Ruling:
        """Return Alipay's verdict on the attempt."""
        return self._gateway.query(attempt)

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund yuan of the attempt, once however often this is called; return Alipay's answer."""
        return self._gateway.refund(attempt, amount)

    def refund_status(self, attempt: Attempt) -> Refund:
        """Return the state of that refund at Alipay."""
        return self._gateway.refund_status(attempt)


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
        return [checks.Error(f"Orders cannot be paid: {error}.", hint=_hint(str(error)), id="payments.E001")]
    warnings = _settings(settings.ALIPAY).warnings()
    return [checks.Warning(f"{one}.", hint=_hint(one), id="payments.W003") for one in warnings]


def _missing() -> list[str]:
    """Return the environment variables that must still be set."""
    mode = CERTIFICATES if any(settings.ALIPAY.get(field) for field in CERTIFICATES) else KEY
    return [VARIABLES[field] for field in (*ALWAYS, *mode) if not settings.ALIPAY.get(field)]


def _hint(message: str) -> str:
    """Return which environment variables set the fields that a message names."""
    named = [f"{field} is {variable}" for field, variable in VARIABLES.items() if re.search(rf"\b{field}\b", message)]
    return f"{'; '.join(named)}. See shop/settings.py." if named else "See ALIPAY_… in shop/settings.py."


@cache
def _open(fields: tuple[tuple[str, str], ...]) -> AlipayGateway:
    return AlipayGateway(_settings(dict(fields)))


def _settings(given: Mapping[str, str]) -> AlipaySettings:
    return AlipaySettings(
        app_id=given["app_id"],
        seller_id=given["seller_id"],
        private_key=given["private_key"],
        alipay_public_key=given.get("alipay_public_key", ""),
        app_certificate=given.get("app_certificate", ""),
        alipay_certificate=given.get("alipay_certificate", ""),
        root_certificates=given.get("root_certificates", ""),
        gateway_url=given["gateway_url"],
        notify_url=given["notify_url"],
        return_url=given["return_url"],
    )


def _text(environment: Mapping[str, str], name: str) -> str:
    file = environment.get(f"{name}_FILE", "").strip()
    if not file:
        return environment.get(name, "").strip()
    try:
        return read_key_file(file)
    except ConfigError as error:
        raise ImproperlyConfigured(f"{name}_FILE: {error}") from error
