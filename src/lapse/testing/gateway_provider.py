"""What the gateway suite needs: a provider with a buyer, a clock and faults, and calls that must end in time."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.orders.gateway import Attempt, Gateway, Refund, RefundState, Ruling, Verdict

Result = TypeVar("Result", Ruling, Refund)


class Fault(StrEnum):
    """A fault that the suite switches on between the gateway and its provider."""

    REFUSED = "refused"
    """No server accepts the connection."""
    SILENT = "silent"
    """The provider accepts the call, carries it out, and never answers."""
    ENDLESS = "endless"
    """The answer arrives byte by byte and never ends."""
    ERROR = "error"
    """The provider answers with its code for "try again later"."""
    EMPTY = "empty"
    """The answer has no content."""
    GARBAGE = "garbage"
    """The answer is another document, such as a proxy's HTML page."""
    HALF = "half"
    """The right answer, cut in the middle."""
    FORGED = "forged"
    """The right answer, but not signed by the provider."""
    SLOW = "slow"
    """The right answer, late, but within the gateway's own time-out."""


NO_ANSWER = [fault for fault in Fault if fault is not Fault.SLOW]
"""The faults after which the answer must be UNKNOWN."""


class Provider(ABC):
    """The payment provider of one test: the gateway under test, a buyer, a clock, and faults.

    * `amount`: what each attempt costs, in the currency's main unit.
    * `bound`: the longest time that one call may take, also under a fault. Allow for a busy machine.
    * `faults`: the faults that `fail` can switch on. Leave out a fault that cannot happen to this gateway.
    * `refunds`: whether money can be refunded. False is for a gateway that moves no money, such as one for development.
    * `reports_refunds`: whether a ruling of `query` has what was refunded of a paid attempt.
    """

    gateway: Gateway
    amount: Decimal
    bound: timedelta
    faults: frozenset[Fault] = frozenset(Fault)
    refunds: bool = True
    reports_refunds: bool = True

    @abstractmethod
    def begin(self) -> Attempt:
        """Return a new attempt whose link lasts for minutes. No buyer has opened the link."""

    @abstractmethod
    def open(self, attempt: Attempt) -> None:
        """Let the buyer open the link, so that the provider knows the attempt."""

    @abstractmethod
    def pay(self, attempt: Attempt) -> bool:
        """Let the buyer open the link, if not yet, and pay; return whether the provider took the money."""

    @abstractmethod
    def expire(self, attempt: Attempt) -> Attempt:
        """Let time pass until the link has expired; return the attempt as the shop then reads it."""

    def refund_elsewhere(self, attempt: Attempt, amount: Decimal) -> None:
        """Refund this much of the attempt without the gateway, as the merchant does at the provider's own console."""
        raise NotImplementedError("needed if the provider has refunds")

    def refunded(self, attempt: Attempt) -> Decimal:
        """Return how much the provider has refunded of the attempt in all, read without the gateway."""
        raise NotImplementedError("needed if the provider has refunds")

    @abstractmethod
    def fail(self, fault: Fault) -> None:
        """Switch on one of `faults`."""

    @abstractmethod
    def recover(self) -> None:
        """Switch the faults off."""


def close(provider: Provider, attempt: Attempt) -> Ruling:
    """Close the attempt and return the ruling as lapsing reads it: an exception counts as UNKNOWN."""
    return _checked(_called(provider, attempt, lambda: provider.gateway.close(attempt), _unknown(attempt)))


def query(provider: Provider, attempt: Attempt) -> Ruling:
    """Query the attempt and return the ruling: an exception counts as UNKNOWN."""
    return _checked(_called(provider, attempt, lambda: provider.gateway.query(attempt), _unknown(attempt)))


def refund(provider: Provider, attempt: Attempt, amount: Decimal) -> Refund:
    """Refund the amount and return the answer: an exception counts as UNKNOWN."""
    return _called(provider, attempt, lambda: provider.gateway.refund(attempt, amount), _unknown_refund(attempt))


def refund_status(provider: Provider, attempt: Attempt) -> Refund:
    """Return the state of the refund: an exception counts as UNKNOWN."""
    return _called(provider, attempt, lambda: provider.gateway.refund_status(attempt), _unknown_refund(attempt))


def _called(provider: Provider, attempt: Attempt, call: Callable[[], Result], unknown: Result) -> Result:
    """Return the call's result, or `unknown` if it raises. The call must end within the bound."""
    started = SYSTEM_CLOCK.monotonic()
    try:
        result = call()
    except Exception:  # noqa: BLE001 - a gateway may raise anything where it has no answer
        result = unknown
    took = timedelta(seconds=SYSTEM_CLOCK.monotonic() - started)
    assert took <= provider.bound, f"the call took {took}, and must end within {provider.bound}"
    assert result.attempt == attempt
    return result


def _checked(ruling: Ruling) -> Ruling:
    for amount in (ruling.amount, ruling.refunded):
        assert amount is None or isinstance(amount, Decimal)
    return ruling


def _unknown(attempt: Attempt) -> Ruling:
    return Ruling(attempt, Verdict.UNKNOWN)


def _unknown_refund(attempt: Attempt) -> Refund:
    return Refund(attempt, RefundState.UNKNOWN)
