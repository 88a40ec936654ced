"""The part of the gateway suite about refunds: once per attempt, also if an answer was lost, and final."""

from decimal import Decimal

import pytest

from lapse.orders.gateway import Attempt, RefundState, Verdict
from lapse.testing.gateway_provider import NO_ANSWER, Fault, Provider, close, query, refund, refund_status

CENT = Decimal("0.01")


class RefundTests:
    """The provider refunds an attempt once, with the first amount, and only money that it has."""

    # --- once ---

    def test_a_refund_is_carried_out_once(self, provider: Provider) -> None:
        """However often the call is repeated, money moves once, and each answer says the same."""
        if not provider.refunds:
            return
        attempt = paid(provider)
        for _ in range(3):
            answer = refund(provider, attempt, provider.amount)
            assert (answer.state, answer.amount) == (RefundState.DONE, provider.amount)
            assert provider.refunded(attempt) == provider.amount
        status = refund_status(provider, attempt)
        assert (status.state, status.amount) == (RefundState.DONE, provider.amount)

    def test_another_amount_is_refused(self, provider: Provider) -> None:
        """The first call decides the amount; a call with another amount is REFUSED, says why, and moves nothing."""
        if not provider.refunds:
            return
        attempt = paid(provider)
        part = provider.amount - CENT
        assert refund(provider, attempt, part).state == RefundState.DONE
        for other in (CENT, provider.amount):
            answer = refund(provider, attempt, other)
            assert answer.state == RefundState.REFUSED
            assert answer.reason
        assert provider.refunded(attempt) == part
        assert refund(provider, attempt, part).state == RefundState.DONE
        assert refund_status(provider, attempt).amount == part

    def test_each_attempt_has_a_refund_of_its_own(self, provider: Provider) -> None:
        """Of two paid attempts one is refunded, and the other can be."""
        if not provider.refunds:
            return
        first, second = paid(provider), paid(provider)
        assert refund(provider, first, provider.amount).state == RefundState.DONE
        assert refund_status(provider, second).state == RefundState.ABSENT
        assert query(provider, second).verdict == Verdict.PAID
        assert refund(provider, second, provider.amount).state == RefundState.DONE
        assert provider.refunded(first) == provider.refunded(second) == provider.amount

    @pytest.mark.parametrize("fault", NO_ANSWER)
    def test_a_refund_without_an_answer_is_carried_out_once(self, provider: Provider, fault: Fault) -> None:
        """UNKNOWN, whether the refund took effect or not; the same call, repeated, makes it exactly once."""
        if not provider.refunds or fault not in provider.faults:
            return
        attempt = paid(provider)
        provider.fail(fault)
        assert refund(provider, attempt, provider.amount).state == RefundState.UNKNOWN
        assert refund_status(provider, attempt).state == RefundState.UNKNOWN
        provider.recover()
        assert refund(provider, attempt, provider.amount).state == RefundState.DONE
        assert provider.refunded(attempt) == provider.amount

    def test_a_slow_answer_to_a_refund_is_an_answer(self, provider: Provider) -> None:
        """An answer within the gateway's own time-out decides, as a quick one does."""
        if not provider.refunds or Fault.SLOW not in provider.faults:
            return
        attempt = paid(provider)
        provider.fail(Fault.SLOW)
        assert refund(provider, attempt, provider.amount).state == RefundState.DONE
        assert refund_status(provider, attempt).state == RefundState.DONE

    # --- only what was paid ---

    def test_an_unpaid_attempt_is_not_refunded(self, provider: Provider) -> None:
        """Unopened, opened, or closed: REFUSED with a reason, and nothing else changes."""
        if not provider.refunds:
            return
        unopened, opened, closed = provider.begin(), provider.begin(), provider.begin()
        provider.open(opened)
        provider.open(closed)
        assert close(provider, closed).verdict == Verdict.CLOSED
        for attempt in (unopened, opened, closed):
            answer = refund(provider, attempt, provider.amount)
            assert answer.state == RefundState.REFUSED
            assert answer.reason
            assert refund_status(provider, attempt).state == RefundState.ABSENT
        assert provider.pay(opened)
        assert query(provider, closed).verdict == Verdict.CLOSED

    def test_more_than_was_paid_is_refused(self, provider: Provider) -> None:
        """One cent too much moves nothing, and the right amount can be refunded afterwards."""
        if not provider.refunds:
            return
        attempt = paid(provider)
        assert refund(provider, attempt, provider.amount + CENT).state == RefundState.REFUSED
        assert provider.refunded(attempt) == 0
        assert query(provider, attempt).verdict == Verdict.PAID
        assert refund(provider, attempt, provider.amount).state == RefundState.DONE

    def test_the_status_of_a_refund_changes_nothing(self, provider: Provider) -> None:
        """ABSENT before the refund, however often it is asked for; the money stays where it is."""
        if not provider.refunds:
            return
        attempt = paid(provider)
        for _ in range(2):
            assert refund_status(provider, attempt).state == RefundState.ABSENT
        assert provider.refunded(attempt) == 0
        assert query(provider, attempt).verdict == Verdict.PAID

    # --- what the ruling says ---

    def test_a_refund_in_full_is_final(self, provider: Provider) -> None:
        """REFUNDED with both amounts, for `query` and `close`, then and later; the attempt cannot be paid again."""
        if not provider.refunds:
            return
        attempt = paid(provider)
        assert refund(provider, attempt, provider.amount).state == RefundState.DONE
        assert not provider.pay(attempt)
        for now in (attempt, provider.expire(attempt)):
            for ask in (query, close):
                ruling = ask(provider, now)
                assert ruling.verdict == Verdict.REFUNDED
                assert ruling.amount == ruling.refunded == provider.amount
                assert ruling.provider_reference

    def test_a_part_is_no_refund_in_full(self, provider: Provider) -> None:
        """After a partial refund the attempt is still PAID, with all that was paid."""
        if not provider.refunds:
            return
        attempt = paid(provider)
        assert refund(provider, attempt, CENT).state == RefundState.DONE
        ruling = query(provider, attempt)
        assert (ruling.verdict, ruling.amount) == (Verdict.PAID, provider.amount)
        assert ruling.refunded == (CENT if provider.reports_refunds else None)

    # --- refunds that the shop did not ask for ---

    def test_a_refund_elsewhere_is_seen_and_not_repeated(self, provider: Provider) -> None:
        """What the merchant refunded in full at the provider's own console is REFUNDED, and money moves once."""
        if not provider.refunds:
            return
        attempt = paid(provider)
        provider.refund_elsewhere(attempt, provider.amount)
        assert query(provider, attempt).verdict == Verdict.REFUNDED
        assert refund(provider, attempt, provider.amount).state != RefundState.UNKNOWN
        assert provider.refunded(attempt) == provider.amount

    def test_a_part_refunded_elsewhere_leaves_the_rest(self, provider: Provider) -> None:
        """The whole is then too much and REFUSED; the rest is refunded, and the attempt is REFUNDED."""
        if not provider.refunds:
            return
        attempt = paid(provider)
        provider.refund_elsewhere(attempt, CENT)
        ruling = query(provider, attempt)
        assert (ruling.verdict, ruling.amount) == (Verdict.PAID, provider.amount)
        assert ruling.refunded == (CENT if provider.reports_refunds else None)
        assert refund(provider, attempt, provider.amount).state == RefundState.REFUSED
        assert refund(provider, attempt, provider.amount - CENT).state == RefundState.DONE
        assert provider.refunded(attempt) == provider.amount
        assert query(provider, attempt).verdict == Verdict.REFUNDED


def paid(provider: Provider) -> Attempt:
    """Return a new attempt that the buyer has paid."""
    attempt = provider.begin()
    assert provider.pay(attempt)
    return attempt
