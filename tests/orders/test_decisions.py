"""What a person may decide about an attempt: each decision in each state of the attempt and its order."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

from lapse.orders import Attempt, AttemptState, LateMoney, Record, Ruling, Verdict
from lapse.orders.decisions import refund, reinstate, remove_alarm, write_off
from lapse.orders.late_money import TWO_PAYMENTS, Booking, Effect, OrderState, book

DUE = Decimal("58.00")
S, At = AttemptState, OrderState
KEEP = partial(write_off, reason="agreed with the buyer")


def record(state: AttemptState, **fields: object) -> Record:
    """Return an attempt over 58.00 in this state, with its money if the state has some."""
    known = {"paid": DUE, "provider_reference": "p1"} if state.has_money or state is S.REFUNDED else {}
    refunded = {"refunded": DUE} if state is S.REFUNDED else {}
    attempt = Record("a1", "1001", "till", state, DUE)
    return replace(attempt, **{**known, **refunded, **fields})  # type: ignore[arg-type] # by name


@pytest.mark.parametrize(
    ("decide", "states", "becomes"),
    [
        pytest.param(refund, {S.REVIEW}, S.REFUND_DUE, id="refund"),
        pytest.param(reinstate, {S.REVIEW, S.REFUND_DUE}, S.SUCCEEDED, id="reinstate"),
        pytest.param(KEEP, {S.REVIEW, S.REFUND_DUE}, S.WRITTEN_OFF, id="write off"),
    ],
)
@pytest.mark.parametrize("state", AttemptState)
def test_only_money_that_waits_is_decided(
    decide: Callable[[Record, OrderState], Booking],
    states: set[AttemptState],
    becomes: AttemptState,
    state: AttemptState,
) -> None:
    """Money that pays an order, has gone back, or has not come, stays as it is. The alarm ends with the decision."""
    before = record(state, alarm="why" if state is S.REVIEW else "")
    after = decide(before, At.CANCELLED).record
    assert (after.state, after.alarm) == ((becomes, "") if state in states else (state, before.alarm))
    assert after.paid == before.paid
    if state not in states:
        assert after == before


@pytest.mark.parametrize("decide", [reinstate, KEEP], ids=["reinstate", "write off"])
def test_a_refund_that_the_gateway_was_asked_for_is_not_taken_back(
    decide: Callable[[Record, OrderState], Booking],
) -> None:
    """The gateway may carry the refund out at any time."""
    before = record(S.REFUND_DUE, refunding=DUE)
    assert decide(before, At.CANCELLED) == Booking(before)


def test_which_orders_take_the_money() -> None:
    """A cancelled order if its stock is there, and an unpaid one. A paid order takes no more, and no part pays."""
    before = record(S.REVIEW)
    effects = {order: reinstate(before, order).effect for order in OrderState}
    assert effects == {At.UNPAID: Effect.PAY, At.CANCELLED: Effect.REINSTATE, At.PAID: Effect.NONE}
    assert reinstate(before, At.CANCELLED).or_nothing
    assert reinstate(before, At.PAID).record == before
    for other in ({"paid": Decimal("50.00")}, {"refunded": Decimal("8.00")}):
        part = record(S.REVIEW, **other)
        assert reinstate(part, At.CANCELLED) == Booking(part)


@pytest.mark.parametrize("decide", [refund, reinstate, KEEP], ids=["refund", "reinstate", "write off"])
def test_an_alarm_about_another_payment_outlives_a_decision_about_the_first(
    decide: Callable[[Record, OrderState], Booking],
) -> None:
    """The other payment is not decided with it."""
    alarm = f"{TWO_PAYMENTS}p1 and p2"
    assert decide(record(S.REVIEW, alarm=alarm), At.CANCELLED).record.alarm == alarm


@pytest.mark.parametrize("state", [S.PENDING, S.UNKNOWN, S.CLOSED, S.FAILED])
def test_a_report_that_cannot_be_booked_is_written_off(state: AttemptState) -> None:
    """The attempt holds its order no longer, and the same report is no alarm again. Other money is booked as ever."""
    before = record(state, alarm="payment p1 belongs to another attempt as well")
    after = KEEP(before, At.UNPAID).record
    assert (after.state, after.alarm, after.written_off) == (S.CLOSED, "", "agreed with the buyer")
    named = Attempt("1001", "a1", "till")
    again = Ruling(named, Verdict.PAID, amount=DUE, provider_reference="p1")
    assert book(after, At.UNPAID, again, LateMoney.REINSTATE, number_taken=True) == Booking(after)
    other = Ruling(named, Verdict.PAID, amount=DUE, provider_reference="p3")
    assert book(after, At.UNPAID, other, LateMoney.REINSTATE).effect is Effect.PAY
    assert KEEP(record(state), At.UNPAID).record.state is state, "without an alarm, there is nothing to write off"


def test_reports_about_money_that_was_written_off() -> None:
    """A refund is booked, in part and in full; a contradiction is an alarm."""
    before = record(S.WRITTEN_OFF, written_off="agreed")
    named = Attempt("1001", "a1", "till")

    def booked(**facts: object) -> Record:
        report = Ruling(named, Verdict.PAID, **{"amount": DUE, "provider_reference": "p1", **facts})  # type: ignore[arg-type] # by name
        booking = book(before, At.CANCELLED, report, LateMoney.REINSTATE)
        assert booking.effect is Effect.NONE
        return booking.record

    assert booked() == before
    part = booked(refunded=Decimal("8.00"))
    assert (part.state, part.kept) == (S.WRITTEN_OFF, Decimal("50.00"))
    assert (booked(refunded=DUE).state, booked(refunded=DUE).kept) == (S.REFUNDED, Decimal(0))
    assert booked(amount=Decimal("1.00")).alarm
    assert booked(provider_reference="p2").alarm.startswith(TWO_PAYMENTS)


def test_an_alarm_is_removed_where_no_money_waits() -> None:
    """Money in review needs a decision about it."""
    assert remove_alarm(record(S.SUCCEEDED, alarm="why"), At.PAID).record.alarm == ""
    assert remove_alarm(record(S.REVIEW, alarm="why"), At.PAID).record.alarm == "why"


def test_a_person_decides_about_what_the_person_saw() -> None:
    """Another state, or another alarm, is for another decision."""
    before = record(S.REFUND_DUE, alarm="a new one")
    assert reinstate(before, At.CANCELLED, seen=S.REVIEW) == Booking(before)
    assert KEEP(before, At.CANCELLED, seen=S.REVIEW) == Booking(before)
    assert remove_alarm(before, At.CANCELLED, seen="an older one") == Booking(before)
    assert reinstate(before, At.CANCELLED, seen=S.REFUND_DUE).effect is Effect.REINSTATE
    assert KEEP(before, At.CANCELLED, seen=S.REFUND_DUE).record.state is S.WRITTEN_OFF
    assert remove_alarm(before, At.CANCELLED, seen="a new one").record.alarm == ""
