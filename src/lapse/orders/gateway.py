"""The port to a payment gateway: close an attempt to pay, and report whether money came first.

`lapse.testing.gateway_conformance` tests any implementation. A provider's own names, such as Alipay's `out_trade_no`,
stay inside its folder in `lapse.gateways`.
"""

from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to pay one order. `reference` is the shop's own number for this attempt and is never used again.

    `expires_in` is the time left until the payment link ends, measured when the attempt was read, by the clock that
    decides: the database's. It is negative once the link has ended. None: the link has no end of its own, or the shop
    does not know the end.
    """

    order_key: str
    reference: str
    gateway: str
    expires_in: timedelta | None = None


class Verdict(StrEnum):
    """A gateway's verdict on an attempt."""

    CLOSED = "closed"
    """The attempt can never be paid any more."""
    PAID = "paid"
    """The buyer's money has come."""
    UNKNOWN = "unknown"
    """The gateway did not answer, or its answer decides nothing: the order must be neither cancelled nor paid."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A gateway's verdict on one attempt, with the facts of the payment that the gateway reported.

    Amounts are in the currency's main unit, such as yuan or euros, with its decimals; None: not reported.
    `amount` is what the buyer paid, `refunded` what has been given back of it. `provider_reference` is the gateway's
    own number of the payment, "" if not reported.
    """

    attempt: Attempt
    verdict: Verdict
    _: KW_ONLY
    amount: Decimal | None = None
    refunded: Decimal | None = None
    provider_reference: str = ""


class Gateway(Protocol):
    """One payment provider. Calls are made outside any database transaction and may be repeated."""

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt so that it cannot be paid any more; return the verdict, PAID if money came first.

        The call must end within a bound of its own, such as a time-out. An exception counts as UNKNOWN.
        """
        ...
