"""The port to a payment gateway: it closes an attempt to pay and reports whether the buyer paid before that.

`lapse.testing.gateway_conformance` tests any implementation. A provider's names, such as Alipay's `out_trade_no`, occur
only in its folder in `lapse.gateways`.
"""

from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to pay one order. `reference` is the shop's number for this attempt, never used for another attempt.

    `expires_in` is the time left until the payment link expires, by the database's clock, when the attempt was read. It
    is negative if the link has expired. None: the link does not expire, or the shop does not know when.
    """

    order_key: str
    reference: str
    gateway: str
    expires_in: timedelta | None = None


class Verdict(StrEnum):
    """A gateway's verdict on an attempt."""

    CLOSED = "closed"
    """The attempt can no longer be paid."""
    PAID = "paid"
    """The buyer has paid."""
    UNKNOWN = "unknown"
    """The gateway did not answer, or its answer is not clear: the order must not become cancelled or paid."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A gateway's verdict on one attempt, with the facts of the payment that the gateway reported.

    Amounts are in the currency's main unit, such as yuan or euros, with its decimals; None: not reported. `amount` is
    what the buyer paid, and `refunded` is the part of it that was refunded. `provider_reference` is the gateway's
    number of the payment, "" if not reported.
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
        """Close the attempt so that it can no longer be paid. Return the ruling: PAID if the buyer paid before that.

        The gateway must limit how long the call takes, for example by a timeout. An exception counts as UNKNOWN.
        """
        ...
