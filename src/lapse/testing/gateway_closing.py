"""The part of the gateway suite about `close`: what each verdict promises."""

import secrets
from dataclasses import replace
from datetime import timedelta

import pytest

from lapse.orders.gateway import Verdict
from lapse.testing.gateway_provider import NO_ANSWER, Fault, Provider, close, query


class ClosingTests:
    """An attempt is never both closed and paid, and money that came before the close is found."""

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
        if not close(provider, attempt).verdict.ended:
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
        undecided = (Verdict.ABSENT, Verdict.UNKNOWN)
        assert close(provider, attempt).verdict in undecided
        assert query(provider, attempt).verdict in undecided
        expired = replace(attempt, expires_in=-timedelta(days=1))
        for ask in (close, query):
            assert ask(provider, expired).verdict in (*undecided, Verdict.CLOSED)

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
