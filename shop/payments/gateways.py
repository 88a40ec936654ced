"""The seam to payment gateways: what the shop asks of one, and which there are."""

import logging
from collections.abc import Mapping
from typing import Protocol

from lapse.orders.gateway import Attempt, Gateway, Ruling, Verdict
from shop.payments.development import DevelopmentGateway
from shop.payments.models import PaymentAttempt

log = logging.getLogger("shop.payments")


class PaymentGateway(Gateway, Protocol):
    """A provider that takes money: it can also be asked to close an attempt, as lapsing needs."""

    def link(self, attempt: PaymentAttempt) -> str:
        """Give the address where the buyer pays this attempt: absolute, or a path of this shop.

        Called outside any transaction; calling it again for the same attempt is fine.
        """
        ...


GATEWAYS: Mapping[str, PaymentGateway] = {"development": DevelopmentGateway()}
"""Each gateway by the name that its attempts carry."""

CHOSEN = "development"
"""The gateway of new attempts."""


def close(attempt: Attempt) -> Ruling:
    """Close one attempt at its gateway. A gateway that fails has said nothing: UNKNOWN."""
    try:
        return GATEWAYS[attempt.gateway].close(attempt)
    except Exception:
        log.exception("closing attempt %s at %s failed", attempt.out_trade_no, attempt.gateway)
        return Ruling(attempt, Verdict.UNKNOWN)
