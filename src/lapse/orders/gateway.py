"""The port to a payment gateway: it closes an attempt to pay and reports whether the buyer paid before that.

`lapse.testing.gateway_conformance` tests any implementation. A provider's names, such as Alipay's `out_trade_no`, occur
only in its folder in `lapse.gateways`.
"""

from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeVar

from lapse.engine.errors import LapseError


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

    OPEN = "open"
    """The provider waits for the buyer: the attempt may still be paid."""
    PAID = "paid"
    """The buyer has paid. A part may have been refunded since: see `Ruling.refunded`."""
    CLOSED = "closed"
    """The buyer has not paid, and can no longer pay."""
    REFUNDED = "refunded"
    """The buyer has paid, and everything was refunded. This is final: the attempt can no longer be paid."""
    ABSENT = "does not exist"
    """The provider knows no such payment. As long as the link has not expired, the attempt may still be paid."""
    UNKNOWN = "unknown"
    """The gateway did not answer, or its answer is not clear: the order must not become cancelled or paid."""

    @property
    def ended(self) -> bool:
        """Whether the attempt holds no money and can no longer be paid."""
        return self in (Verdict.CLOSED, Verdict.REFUNDED)


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


class RefundState(StrEnum):
    """The state of the refund that the shop asked for on an attempt."""

    DONE = "done"
    """The provider has refunded the amount."""
    PENDING = "pending"
    """The provider has accepted the refund and will carry it out. Ask for its state later."""
    REFUSED = "refused"
    """The provider will never carry this refund out. A person must decide."""
    ABSENT = "does not exist"
    """The provider knows no such refund."""
    UNKNOWN = "unknown"
    """The gateway did not answer, or its answer is not clear. Repeat the same call later."""


@dataclass(frozen=True, slots=True)
class Refund:
    """A gateway's answer about the refund of one attempt.

    `amount` is what this refund gives back, in the currency's main unit; None: not reported. `reason` is the provider's
    explanation of a refusal, for an operator.
    """

    attempt: Attempt
    state: RefundState
    _: KW_ONLY
    amount: Decimal | None = None
    reason: str = ""


class WrongAnswer(LapseError):
    """A gateway answered about another attempt than the one it was asked about. The answer is not booked."""


class ClosingGateway(Protocol):
    """The part of a gateway that lapsing needs. Calls are made outside any database transaction; they may be repeated.

    A shop that has only this part cancels no paid order, but money that comes after the cancel is not found.

    A gateway may have an attribute `least_window`, a timedelta: the shortest time to pay in which an order can be paid
    there. A shop whose declared window is shorter is refused when it starts.
    """

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt so that it can no longer be paid. Return the ruling: PAID if the buyer paid before that.

        Any verdict may be returned; OPEN and ABSENT mean that the attempt could not be closed yet. The gateway must
        limit how long the call takes, for example by a timeout. An exception counts as UNKNOWN.
        """
        ...


class Gateway(ClosingGateway, Protocol):
    """One payment provider, with all that a shop needs to lose no money.

    Calls are made outside any database transaction, from several threads, and may be repeated. Each call must limit how
    long it takes. An exception counts as UNKNOWN.
    """

    def query(self, attempt: Attempt) -> Ruling:
        """Return the gateway's verdict on the attempt without changing anything."""
        ...

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund `amount` of what the buyer paid for the attempt. Return the answer.

        The refund's idempotency key is the attempt: however often the call is repeated, the provider refunds once.
        Another amount than that of the first call is REFUSED.
        """
        ...

    def refund_status(self, attempt: Attempt) -> Refund:
        """Return the state of the refund that `refund` asked for, without changing anything."""
        ...


A = TypeVar("A", Ruling, Refund)


def about(attempt: Attempt, answer: A) -> A:
    """Return the gateway's answer about this attempt. Raises WrongAnswer if it is about another attempt."""
    if answer.attempt.reference != attempt.reference:
        raise WrongAnswer(
            f"gateway {attempt.gateway!r} was asked about attempt {attempt.reference!r} and answered about "
            f"{answer.attempt.reference!r}: it must return the attempt that it received"
        )
    return answer
