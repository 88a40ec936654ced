"""The part of the gateway suite about `query`: it sees each state, and it changes nothing."""

import pytest

from lapse.orders.gateway import Verdict
from lapse.testing.gateway_provider import NO_ANSWER, Fault, Provider, close, query

NOT_PAID_YET = (Verdict.OPEN, Verdict.ABSENT)
"""The verdicts on an attempt that may still be paid. A provider may know an attempt before its link was opened."""


class QueryTests:
    """A query reports what is, and leaves everything as it is."""

    def test_query_changes_nothing(self, provider: Provider) -> None:
        """An attempt can be paid after a query, whether the buyer has opened its link or not."""
        for opened in (False, True):
            attempt = provider.begin()
            if opened:
                provider.open(attempt)
            for _ in range(2):
                query(provider, attempt)
            assert provider.pay(attempt), "the query has closed the attempt"

    def test_query_says_that_an_attempt_is_open(self, provider: Provider) -> None:
        """OPEN once the buyer has opened the link; before that, ABSENT is as good. A closed attempt is neither."""
        attempt = provider.begin()
        assert query(provider, attempt).verdict in NOT_PAID_YET
        provider.open(attempt)
        assert query(provider, attempt).verdict == Verdict.OPEN

    def test_query_finds_the_money(self, provider: Provider) -> None:
        """PAID with amount and the provider's number, as `close` reports it, also long after the link's end."""
        attempt = provider.begin()
        assert provider.pay(attempt)
        found = query(provider, attempt)
        assert found.verdict == Verdict.PAID
        assert found.amount == provider.amount
        assert found.provider_reference
        assert not found.refunded
        assert close(provider, attempt) == found
        late = query(provider, provider.expire(attempt))
        assert (late.verdict, late.provider_reference) == (Verdict.PAID, found.provider_reference)

    def test_query_says_closed(self, provider: Provider) -> None:
        """What `close` has closed is CLOSED for a query too, then and later."""
        attempt = provider.begin()
        provider.open(attempt)
        assert close(provider, attempt).verdict == Verdict.CLOSED
        assert query(provider, attempt).verdict == Verdict.CLOSED
        assert query(provider, provider.expire(attempt)).verdict == Verdict.CLOSED

    def test_query_after_the_links_end(self, provider: Provider) -> None:
        """Opened or not, a link that has ended is not paid, and CLOSED means that it cannot be paid any more."""
        for opened in (False, True):
            attempt = provider.begin()
            if opened:
                provider.open(attempt)
            attempt = provider.expire(attempt)
            verdict = query(provider, attempt).verdict
            assert verdict in (*NOT_PAID_YET, Verdict.CLOSED)
            if verdict == Verdict.CLOSED:
                assert not provider.pay(attempt), "the gateway said CLOSED, and the buyer paid afterwards"

    @pytest.mark.parametrize("fault", NO_ANSWER)
    def test_no_answer_to_a_query_says_nothing(self, provider: Provider, fault: Fault) -> None:
        """UNKNOWN for a paid attempt and for an unpaid one whose link is over; the next answer decides."""
        if fault not in provider.faults:
            return
        paid, unpaid = provider.begin(), provider.begin()
        assert provider.pay(paid)
        provider.open(unpaid)
        provider.fail(fault)
        assert query(provider, paid).verdict == Verdict.UNKNOWN
        assert query(provider, unpaid).verdict == Verdict.UNKNOWN
        provider.recover()
        assert query(provider, paid).verdict == Verdict.PAID
        assert query(provider, unpaid).verdict == Verdict.OPEN

    def test_a_slow_answer_to_a_query_is_an_answer(self, provider: Provider) -> None:
        """An answer within the gateway's own time-out decides, as a quick one does."""
        if Fault.SLOW not in provider.faults:
            return
        attempt = provider.begin()
        assert provider.pay(attempt)
        provider.fail(Fault.SLOW)
        assert query(provider, attempt).verdict == Verdict.PAID
