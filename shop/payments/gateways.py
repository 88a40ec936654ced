"""The seam to payment gateways: what the shop asks of one, and which there are."""

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from django.conf import settings

from lapse.orders.gateway import Attempt, Gateway, Ruling, Verdict
from shop.orders.refusals import PaymentUnavailable
from shop.payments import alipay
from shop.payments.development import DevelopmentGateway
from shop.payments.models import PaymentAttempt

log = logging.getLogger("shop.payments")


class PaymentGateway(Gateway, Protocol):
    """A provider that takes money: it can also be asked to close an attempt, as lapsing needs."""

    @property
    def least(self) -> timedelta:
        """With less time than this until a link ends, none is given out."""
        ...

    def link_ends(self, pay_by: datetime) -> datetime:
        """When the link of an order with this deadline ends; never after the deadline."""
        ...

    def link(self, attempt: PaymentAttempt) -> str:
        """Give the address where the buyer pays this attempt: absolute, or a path of this shop.

        Called outside any transaction; calling it again for the same attempt is fine.
        """
        ...


class _Gateways(Mapping[str, PaymentGateway]):
    """The gateways that the settings make possible.

    The development gateway is always among them, because its attempts must be closed like all others; that it gives
    no link unless it is chosen is `chosen`'s business.
    """

    def __getitem__(self, name: str) -> PaymentGateway:
        found = {"development": DevelopmentGateway, "alipay": alipay.payments}[name]()
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        yield "development"
        if alipay.payments() is not None:
            yield "alipay"

    def __len__(self) -> int:
        return sum(1 for _ in self)


GATEWAYS: Mapping[str, PaymentGateway] = _Gateways()
"""Each gateway by the name that its attempts carry."""


def chosen() -> tuple[str, PaymentGateway]:
    """Give the gateway of new links, with its name. Raises PaymentUnavailable where its settings are not complete."""
    name = settings.SHOP_GATEWAY
    gateway = GATEWAYS.get(name)
    if gateway is None:
        raise PaymentUnavailable("Paying is not possible at the moment. Your order stays held until its time is over.")
    return name, gateway


def close(attempt: Attempt) -> Ruling:
    """Close one attempt at its gateway. A gateway that fails has said nothing: UNKNOWN."""
    try:
        return GATEWAYS[attempt.gateway].close(attempt)
    except Exception:
        log.exception("closing attempt %s at %s failed", attempt.reference, attempt.gateway)
        return Ruling(attempt, Verdict.UNKNOWN)
