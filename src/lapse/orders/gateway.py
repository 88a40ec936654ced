"""What lapsing asks of a payment gateway: close this attempt, and say whether money came first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to pay one order. `out_trade_no` is the shop's own number for it, never used again.

    `expires_in` is how far off the end of its link was when the attempt was read, by the clock that decides, the
    database's: negative once it is past, None where the link has no end of its own or the shop does not know it.
    """

    order_key: str
    out_trade_no: str
    gateway: str
    expires_in: timedelta | None = None


class Verdict(StrEnum):
    """What the gateway said of an attempt."""

    CLOSED = "closed"
    """It can never be paid any more."""
    PAID = "paid"
    """Money has come."""
    UNKNOWN = "unknown"
    """No answer, or one that settles nothing: neither closed nor paid may be concluded."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The gateway's verdict on one attempt, with whatever it told of the payment."""

    attempt: Attempt
    verdict: Verdict
    details: Mapping[str, str] = field(default_factory=dict)


class Gateway(Protocol):
    """One payment provider. Calls are made outside any database transaction and may be repeated."""

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt so that it cannot be paid any more, or find that it was paid.

        An exception counts as UNKNOWN.
        """
        ...
