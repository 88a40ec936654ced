"""The test suite that every payment gateway must pass. A new gateway is complete when the suite passes.

Subclass `GatewayConformance` in a test module and give it one fixture:

    class TestMyGateway(GatewayConformance):
        @pytest.fixture
        def provider(self):
            with MyProvider() as provider:
                yield provider

`MyProvider` is a `Provider`: the gateway under test, beside a simulator or a sandbox of the payment provider. There the
suite pays, lets time pass and switches on faults. The suite tests what each verdict promises, and that no attempt is
ever both closed and paid.
"""

import secrets
from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

import pytest

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.orders.gateway import Attempt, ClosingGateway, Ruling, Verdict


class Fault(StrEnum):
    """A fault that the suite switches on between the gateway and its provider."""

    REFUSED = "refused"
    """No server accepts the connection."""
    SILENT = "silent"
    """The provider accepts the call and never answers."""
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
"""The faults after which the verdict must be UNKNOWN."""


class Provider(ABC):
    """The payment provider of one test: the gateway under test, a buyer, a clock, and faults.

    * `amount`: what each attempt costs, in the currency's main unit.
    * `bound`: the longest time that one `close` may take, also under a fault. Allow for a busy machine.
    * `faults`: the faults that `fail` can switch on. Leave out a fault that cannot happen to this gateway.
    """

    gateway: ClosingGateway
    amount: Decimal
    bound: timedelta
    faults: frozenset[Fault] = frozenset(Fault)

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

    @abstractmethod
    def fail(self, fault: Fault) -> None:
        """Switch on one of `faults`."""

    @abstractmethod
    def recover(self) -> None:
        """Switch the faults off."""


class GatewayConformance:
    """The suite."""

    @pytest.fixture
    def provider(self) -> Provider:
        """Return the provider of this test, with no fault."""
        raise NotImplementedError("a subclass returns its provider")

    # --- paid ---

    def test_money_that_came_first_is_found(self, provider: Provider) -> None:
        """Closing a paid attempt says PAID, with the amount and the provider's own number of the payment."""
        attempt = provider.begin()
        assert provider.pay(attempt)
        ruling = close(provider, attempt)
        assert ruling.verdict == Verdict.PAID
        assert ruling.amount == provider.amount
        assert ruling.provider_reference

    def test_money_is_found_each_time(self, provider: Provider) -> None:
        """Closing a paid attempt again, or long after its link ended, still says PAID, of the same payment."""
        attempt = provider.begin()
        provider.open(attempt)
        assert provider.pay(attempt)
        first = close(provider, attempt)
        assert close(provider, attempt) == first
        late = close(provider, provider.expire(attempt))
        assert (late.verdict, late.provider_reference) == (Verdict.PAID, first.provider_reference)

    def test_a_payment_after_an_undecided_close_is_found(self, provider: Provider) -> None:
        """An attempt that close did not close may be paid, and the next close then says PAID."""
        attempt = provider.begin()
        if close(provider, attempt).verdict == Verdict.UNKNOWN:
            assert provider.pay(attempt)
            assert close(provider, attempt).verdict == Verdict.PAID

    def test_each_attempt_has_its_own_verdict(self, provider: Provider) -> None:
        """Of two attempts one is paid and one is not."""
        paid, unpaid = provider.begin(), provider.begin()
        provider.open(unpaid)
        assert provider.pay(paid)
        assert close(provider, unpaid).verdict == Verdict.CLOSED
        assert close(provider, paid).verdict == Verdict.PAID

    # --- closed ---

    def test_an_opened_attempt_is_closed(self, provider: Provider) -> None:
        """An attempt that waits for the buyer is closed at once, and the provider takes no money for it."""
        attempt = provider.begin()
        provider.open(attempt)
        assert close(provider, attempt).verdict == Verdict.CLOSED
        assert not provider.pay(attempt)

    def test_closing_again_says_closed(self, provider: Provider) -> None:
        """The call may be repeated, also long after the link ended."""
        attempt = provider.begin()
        provider.open(attempt)
        for _ in range(2):
            assert close(provider, attempt).verdict == Verdict.CLOSED
        assert close(provider, provider.expire(attempt)).verdict == Verdict.CLOSED

    def test_an_opened_link_that_ended_is_closed(self, provider: Provider) -> None:
        """The buyer opened the link and let its time pass."""
        attempt = provider.begin()
        provider.open(attempt)
        assert close(provider, provider.expire(attempt)).verdict == Verdict.CLOSED
        assert not provider.pay(attempt)

    def test_an_unopened_link_that_ended_is_closed(self, provider: Provider) -> None:
        """No buyer opened the link: its order must not wait for an answer that cannot come."""
        attempt = provider.begin()
        assert close(provider, provider.expire(attempt)).verdict == Verdict.CLOSED
        assert not provider.pay(attempt)

    # --- a trade that the provider does not know ---

    @pytest.mark.parametrize("end_is_known", [True, False])
    def test_a_link_that_can_be_paid_is_not_closed(self, provider: Provider, end_is_known: bool) -> None:
        """Before the end of an unopened link, "does not exist" is not "closed": CLOSED means it cannot be paid."""
        attempt = provider.begin()
        if not end_is_known:
            attempt = replace(attempt, expires_in=None)
        verdict = close(provider, attempt).verdict
        assert verdict != Verdict.PAID
        if verdict == Verdict.CLOSED:
            assert not provider.pay(attempt), "the gateway said CLOSED, and the buyer paid afterwards"

    def test_a_reference_that_no_provider_knows_decides_nothing(self, provider: Provider) -> None:
        """Neither paid nor closed may be concluded before the link's end; after it, at most that it is closed."""
        attempt = replace(provider.begin(), reference=secrets.token_hex(16))
        assert close(provider, attempt).verdict == Verdict.UNKNOWN
        assert close(provider, replace(attempt, expires_in=-timedelta(days=1))).verdict != Verdict.PAID

    # --- no answer ---

    @pytest.mark.parametrize("fault", NO_ANSWER)
    def test_no_answer_hides_no_money(self, provider: Provider, fault: Fault) -> None:
        """Of a paid attempt nothing is concluded, however long its link is over; the next answer finds the money."""
        if fault not in provider.faults:
            return
        attempt = provider.begin()
        assert provider.pay(attempt)
        attempt = provider.expire(attempt)
        provider.fail(fault)
        assert close(provider, attempt).verdict == Verdict.UNKNOWN
        provider.recover()
        assert close(provider, attempt).verdict == Verdict.PAID

    @pytest.mark.parametrize("fault", NO_ANSWER)
    def test_no_answer_closes_nothing(self, provider: Provider, fault: Fault) -> None:
        """Of an unpaid attempt nothing is concluded either; the next answer closes it."""
        if fault not in provider.faults:
            return
        attempt = provider.expire(provider.begin())
        provider.fail(fault)
        assert close(provider, attempt).verdict == Verdict.UNKNOWN
        provider.recover()
        assert close(provider, attempt).verdict == Verdict.CLOSED

    def test_a_slow_answer_is_an_answer(self, provider: Provider) -> None:
        """An answer within the gateway's own time-out decides, as a quick one does."""
        if Fault.SLOW not in provider.faults:
            return
        paid, unpaid = provider.begin(), provider.begin()
        provider.open(unpaid)
        assert provider.pay(paid)
        provider.fail(Fault.SLOW)
        assert close(provider, paid).verdict == Verdict.PAID
        assert close(provider, unpaid).verdict == Verdict.CLOSED


def close(provider: Provider, attempt: Attempt) -> Ruling:
    """Return the ruling as lapsing reads it: an exception counts as UNKNOWN. The call must end within the bound."""
    started = SYSTEM_CLOCK.monotonic()
    try:
        ruling = provider.gateway.close(attempt)
    except Exception:  # noqa: BLE001 - a gateway may raise anything where it has no answer
        ruling = Ruling(attempt, Verdict.UNKNOWN)
    took = timedelta(seconds=SYSTEM_CLOCK.monotonic() - started)
    assert took <= provider.bound, f"close took {took}, and must end within {provider.bound}"
    assert ruling.attempt == attempt
    for amount in (ruling.amount, ruling.refunded):
        assert amount is None or isinstance(amount, Decimal)
    return ruling
