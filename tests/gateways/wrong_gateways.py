"""Gateways to Alipay that are wrong on purpose, each with the tests of the gateway suite that must fail for it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from lapse.gateways.alipay import AlipayError, AlipayGateway, AlipaySettings, Trade
from lapse.orders import Attempt, Refund, RefundState, Ruling, Verdict
from lapse.testing.gateway_conformance import Fault

FULL = Decimal("58.00")
NOW = timedelta(0)

# --- close ---


class SilenceIsClosed(AlipayGateway):
    """Maps a failed close to CLOSED."""

    def _close(self, attempt: Attempt) -> Ruling:
        try:
            return super()._close(attempt)
        except AlipayError:
            return Ruling(attempt, Verdict.CLOSED)


class UnknownTradeIsClosed(AlipayGateway):
    """Maps "does not exist" to CLOSED while the link can be paid."""

    def _ruling(self, attempt: Attempt, trade: Trade | None) -> Ruling:
        return super()._ruling(attempt, trade) if trade else Ruling(attempt, Verdict.CLOSED)


class UnknownTradeIsNeverClosed(AlipayGateway):
    """Keeps an order for ever whose link no buyer opened."""

    def _ruling(self, attempt: Attempt, trade: Trade | None) -> Ruling:
        return super()._ruling(attempt, trade) if trade else Ruling(attempt, Verdict.UNKNOWN)


class Closes(AlipayGateway):
    """Returns another verdict than `wrong` from close."""

    wrong, instead = Verdict.PAID, Verdict.CLOSED

    def close(self, attempt: Attempt) -> Ruling:
        """Return the wrong verdict."""
        ruling = super().close(attempt)
        return replace(ruling, verdict=self.instead) if ruling.verdict is self.wrong else ruling


class PaidIsClosed(Closes):
    """Believes that a trade which cannot be closed is closed, and never queries."""


class PaidIsSwallowed(Closes):
    """Finds the money and does not report it."""

    instead = Verdict.UNKNOWN


class ClosedIsUnknown(Closes):
    """Keeps every order for ever."""

    wrong, instead = Verdict.CLOSED, Verdict.UNKNOWN


class AmountIsForgotten(AlipayGateway):
    """Reports the money without its amount."""

    def close(self, attempt: Attempt) -> Ruling:
        """Return the ruling without the amount."""
        return replace(super().close(attempt), amount=None)


class ProviderReferenceIsForgotten(AlipayGateway):
    """Reports the money without Alipay's number."""

    def close(self, attempt: Attempt) -> Ruling:
        """Return the ruling without the number."""
        return replace(super().close(attempt), provider_reference="")


class NothingIsClosedTwice(AlipayGateway):
    """Fails when a call is repeated."""

    def close(self, attempt: Attempt) -> Ruling:
        """Raise for a trade that was closed before."""
        trade = self.trade(attempt.reference)
        if trade is not None and trade.verdict is Verdict.CLOSED:
            raise RuntimeError("closed before")
        return super().close(attempt)


class Impatient(AlipayGateway):
    """Has a time-out of its own that is shorter than the one in its settings."""

    def __init__(self, settings: AlipaySettings) -> None:
        super().__init__(replace(settings, timeout=timedelta(seconds=0.05)))


# --- query ---


class QueryCloses(AlipayGateway):
    """Closes where it should only look."""

    def query(self, attempt: Attempt) -> Ruling:
        """Close the attempt."""
        return self.close(attempt)


class Queries(AlipayGateway):
    """Returns another verdict than `wrong` from query."""

    wrong, instead = Verdict.OPEN, Verdict.UNKNOWN

    def query(self, attempt: Attempt) -> Ruling:
        """Return the wrong verdict."""
        ruling = super().query(attempt)
        return replace(ruling, verdict=self.instead) if ruling.verdict is self.wrong else ruling


class OpenIsUnknown(Queries):
    """Does not say that an attempt waits for its buyer."""


class ClosedIsOpen(Queries):
    """Lets the shop wait for a payment that cannot come."""

    wrong, instead = Verdict.CLOSED, Verdict.OPEN


class SilenceIsAbsent(Queries):
    """Maps a failed query to "does not exist"."""

    wrong, instead = Verdict.UNKNOWN, Verdict.ABSENT


class RefundedIsClosed(Queries):
    """Forgets that there was money."""

    wrong, instead = Verdict.REFUNDED, Verdict.CLOSED


class RefundedIsPaid(Queries):
    """Pays an order with money that went back."""

    wrong, instead = Verdict.REFUNDED, Verdict.PAID


class OverIsUnknown(AlipayGateway):
    """Decides nothing about a link that has ended."""

    def query(self, attempt: Attempt) -> Ruling:
        """Return UNKNOWN after the link's end."""
        over = attempt.expires_in is not None and attempt.expires_in < NOW
        return Ruling(attempt, Verdict.UNKNOWN) if over else super().query(attempt)


class QueryFindsNoAmount(AlipayGateway):
    """Reports the money without its amount."""

    def query(self, attempt: Attempt) -> Ruling:
        """Return the ruling without the amount."""
        return replace(super().query(attempt), amount=None)


class PartIsEverything(AlipayGateway):
    """Believes that a paid attempt with a refund has no money left."""

    def query(self, attempt: Attempt) -> Ruling:
        """Return REFUNDED after any refund."""
        ruling = super().query(attempt)
        part = self.refund_status(attempt).state is RefundState.DONE
        return replace(ruling, verdict=Verdict.REFUNDED) if part else ruling


# --- refunds ---


class AmountIsTheKey(AlipayGateway):
    """Makes a new refund for each amount."""

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund with a key that has the amount."""
        key = f"{attempt.reference}_{amount}".replace(".", "_")
        content = {"out_trade_no": attempt.reference, "refund_amount": str(amount), "out_request_no": key}
        self._client.call("alipay.trade.refund", content)
        return Refund(attempt, RefundState.DONE, amount=amount)


class FirstAttemptIsTheKey(AlipayGateway):
    """Takes the refund of the first attempt for that of all."""

    first: Attempt | None = None

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Remember the first attempt."""
        self.first = self.first or attempt
        return super().refund(attempt, amount)

    def refund_status(self, attempt: Attempt) -> Refund:
        """Return the state of the first refund."""
        return replace(super().refund_status(self.first or attempt), attempt=attempt)


class Refunds(AlipayGateway):
    """Returns another state than `wrong` from refund."""

    wrong, instead = RefundState.UNKNOWN, RefundState.DONE

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Return the wrong state."""
        refund = super().refund(attempt, amount)
        return replace(refund, state=self.instead) if refund.state is self.wrong else refund


class SilenceIsDone(Refunds):
    """Takes silence for success."""


class SilenceIsRefused(Refunds):
    """Takes silence for a refusal, so that a person refunds again."""

    instead = RefundState.REFUSED


class RefusedIsDone(Refunds):
    """Takes every answer for success."""

    wrong = RefundState.REFUSED


class RefusedIsUnknown(Refunds):
    """Repeats for ever what can never succeed."""

    wrong, instead = RefundState.REFUSED, RefundState.UNKNOWN


class DoneIsPending(Refunds):
    """Does not notice that the money has moved."""

    wrong, instead = RefundState.DONE, RefundState.PENDING


class TooMuchIsCut(AlipayGateway):
    """Refunds what was paid, if more was asked for."""

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund no more than everything."""
        return super().refund(attempt, min(amount, FULL))


class StatusRefunds(AlipayGateway):
    """Refunds where it should only look."""

    def refund_status(self, attempt: Attempt) -> Refund:
        """Refund everything."""
        return self.refund(attempt, FULL)


WRONG: list[tuple[type[AlipayGateway], set[Fault], set[str]]] = [
    (SilenceIsClosed, {Fault.ERROR}, {"test_no_answer_hides_no_money", "test_no_answer_closes_nothing"}),
    (
        UnknownTradeIsClosed,
        set(),
        {"test_a_link_that_can_be_paid_is_not_closed", "test_a_reference_that_no_provider_knows_decides_nothing"},
    ),
    (UnknownTradeIsNeverClosed, set(), {"test_an_unopened_link_that_ended_is_closed"}),
    (
        PaidIsClosed,
        set(),
        {
            "test_money_that_came_first_is_found",
            "test_money_is_found_each_time",
            "test_a_payment_after_an_undecided_close_is_found",
        },
    ),
    (PaidIsSwallowed, set(), {"test_money_that_came_first_is_found", "test_each_attempt_has_its_own_verdict"}),
    (ClosedIsUnknown, set(), {"test_an_opened_attempt_is_closed", "test_an_opened_link_that_ended_is_closed"}),
    (AmountIsForgotten, set(), {"test_money_that_came_first_is_found"}),
    (ProviderReferenceIsForgotten, set(), {"test_money_that_came_first_is_found"}),
    (NothingIsClosedTwice, set(), {"test_closing_again_says_closed"}),
    (
        Impatient,
        {Fault.SLOW},
        {
            "test_a_slow_answer_is_an_answer",
            "test_a_slow_answer_to_a_query_is_an_answer",
            "test_a_slow_answer_to_a_refund_is_an_answer",
        },
    ),
    (QueryCloses, set(), {"test_query_changes_nothing"}),
    (OpenIsUnknown, set(), {"test_query_says_that_an_attempt_is_open"}),
    (ClosedIsOpen, set(), {"test_query_says_closed"}),
    (SilenceIsAbsent, {Fault.ERROR}, {"test_no_answer_to_a_query_says_nothing"}),
    (OverIsUnknown, set(), {"test_query_after_the_links_end"}),
    (QueryFindsNoAmount, set(), {"test_query_finds_the_money"}),
    (
        RefundedIsClosed,
        set(),
        {
            "test_a_refund_in_full_is_final",
            "test_a_refund_elsewhere_is_seen_and_not_repeated",
            "test_a_part_refunded_elsewhere_leaves_the_rest",
        },
    ),
    (RefundedIsPaid, set(), {"test_a_refund_in_full_is_final"}),
    (PartIsEverything, set(), {"test_a_part_is_no_refund_in_full"}),
    (AmountIsTheKey, set(), {"test_another_amount_is_refused"}),
    (FirstAttemptIsTheKey, set(), {"test_each_attempt_has_a_refund_of_its_own"}),
    (SilenceIsDone, {Fault.ERROR}, {"test_a_refund_without_an_answer_is_carried_out_once"}),
    (SilenceIsRefused, {Fault.ERROR}, {"test_a_refund_without_an_answer_is_carried_out_once"}),
    (RefusedIsDone, set(), {"test_an_unpaid_attempt_is_not_refunded", "test_more_than_was_paid_is_refused"}),
    (RefusedIsUnknown, set(), {"test_an_unpaid_attempt_is_not_refunded", "test_another_amount_is_refused"}),
    (DoneIsPending, set(), {"test_a_refund_is_carried_out_once"}),
    (TooMuchIsCut, set(), {"test_more_than_was_paid_is_refused"}),
    (StatusRefunds, set(), {"test_the_status_of_a_refund_changes_nothing"}),
]
"""Each wrong gateway, the faults that are switched on for it, and the tests that fail."""
