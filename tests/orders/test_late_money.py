"""What a gateway's report does to an attempt and its order: every rule of `book`, and what holds for any reports."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapse.orders import Attempt, AttemptState, LateMoney, Record, Ruling, Verdict
from lapse.orders.late_money import CLOSED_ASKS, Effect, OrderState, ask_in, book, takes_number

DUE = Decimal("58.00")
PART = Decimal("20.00")
S, At, V, E = AttemptState, OrderState, Verdict, Effect
PAID = {"paid": DUE, "provider_reference": "p1"}


def record(state: AttemptState, **fields: object) -> Record:
    """Return an attempt over 58.00 in this state, with its money if the state has some."""
    known = PAID if state.has_money else {}
    return replace(Record("a1", "1001", "till", state, DUE), **{**known, **fields})  # type: ignore[arg-type] # by name


def ruling(
    verdict: Verdict, amount: Decimal | None = DUE, refunded: Decimal | None = None, number: str = "p1"
) -> Ruling:
    """Return a gateway's report; its numbers are there only if there was money."""
    money = verdict in (V.PAID, V.REFUNDED)
    return Ruling(
        Attempt("1001", "a1", "till"),
        verdict,
        amount=amount if money else None,
        refunded=refunded,
        provider_reference=number if money else "",
    )


@pytest.mark.parametrize(
    ("state", "order", "report", "becomes", "effect"),
    [
        pytest.param(S.PENDING, At.UNPAID, ruling(V.PAID), S.SUCCEEDED, E.PAY, id="paid"),
        pytest.param(S.CLOSED, At.UNPAID, ruling(V.PAID), S.SUCCEEDED, E.PAY, id="paid after a wrong close"),
        pytest.param(S.CLOSED, At.CANCELLED, ruling(V.PAID), S.SUCCEEDED, E.REINSTATE, id="paid after the cancel"),
        pytest.param(S.PENDING, At.PAID, ruling(V.PAID), S.REFUND_DUE, E.NONE, id="paid twice"),
        pytest.param(S.SUCCEEDED, At.PAID, ruling(V.PAID), S.SUCCEEDED, E.NONE, id="reported twice"),
        pytest.param(S.PENDING, At.UNPAID, ruling(V.PAID, None), S.SUCCEEDED, E.PAY, id="amount not reported"),
        pytest.param(S.PENDING, At.UNPAID, ruling(V.PAID, PART), S.REFUND_DUE, E.NONE, id="a part was paid"),
        pytest.param(S.PENDING, At.UNPAID, ruling(V.PAID, DUE + PART), S.REFUND_DUE, E.NONE, id="too much was paid"),
        pytest.param(S.PENDING, At.UNPAID, ruling(V.PAID, DUE, PART), S.REFUND_DUE, E.NONE, id="partly refunded first"),
        pytest.param(S.PENDING, At.UNPAID, ruling(V.PAID, DUE, DUE), S.REFUNDED, E.NONE, id="refunded first"),
        pytest.param(S.PENDING, At.UNPAID, ruling(V.REFUNDED), S.REFUNDED, E.NONE, id="refund is the first report"),
        pytest.param(S.REFUNDED, At.UNPAID, ruling(V.PAID), S.REFUNDED, E.NONE, id="a refund is final"),
        pytest.param(S.SUCCEEDED, At.PAID, ruling(V.PAID, DUE, PART), S.SUCCEEDED, E.REFUNDED, id="a part came back"),
        pytest.param(S.SUCCEEDED, At.PAID, ruling(V.REFUNDED), S.REFUNDED, E.REFUNDED, id="all came back"),
        pytest.param(S.REFUND_DUE, At.CANCELLED, ruling(V.REFUNDED), S.REFUNDED, E.NONE, id="refunded at the provider"),
        pytest.param(S.REVIEW, At.CANCELLED, ruling(V.REFUNDED), S.REFUNDED, E.NONE, id="reviewed at the provider"),
        pytest.param(S.PENDING, At.UNPAID, ruling(V.CLOSED), S.CLOSED, E.NONE, id="closed"),
        pytest.param(S.PENDING, At.UNPAID, ruling(V.UNKNOWN), S.UNKNOWN, E.NONE, id="no answer"),
        pytest.param(S.UNKNOWN, At.UNPAID, ruling(V.OPEN), S.PENDING, E.NONE, id="still open"),
        pytest.param(S.CREATED, At.UNPAID, ruling(V.ABSENT), S.CREATED, E.NONE, id="not scanned"),
        pytest.param(S.CLOSED, At.CANCELLED, ruling(V.OPEN), S.CLOSED, E.NONE, id="closed and open"),
    ],
)
def test_each_report_has_its_outcome(
    state: AttemptState, order: OrderState, report: Ruling, becomes: AttemptState, effect: Effect
) -> None:
    """The table of domain rules, under the default policy."""
    booking = book(record(state), order, report, LateMoney.REINSTATE)
    assert (booking.record.state, booking.effect, booking.record.alarm) == (becomes, effect, "")


@pytest.mark.parametrize(
    ("policy", "becomes"), [(LateMoney.REFUND, S.REFUND_DUE), (LateMoney.REVIEW, S.REVIEW)], ids=["refund", "review"]
)
def test_other_policies_reinstate_nothing(policy: LateMoney, becomes: AttemptState) -> None:
    """Late money is refunded each time, or waits for a person with a sentence that says why."""
    booking = book(record(S.CLOSED), At.CANCELLED, ruling(V.PAID), policy)
    assert (booking.record.state, booking.effect) == (becomes, E.NONE)
    assert bool(booking.record.alarm) is (policy is LateMoney.REVIEW)


def test_a_review_names_both_amounts() -> None:
    """A person who decides about a wrong amount sees what came and what was due."""
    booking = book(record(S.PENDING), At.UNPAID, ruling(V.PAID, PART), LateMoney.REVIEW)
    assert booking.record.alarm == "20.00 was paid, and 58.00 was due"


@pytest.mark.parametrize("state", [state for state in S if state.has_money])
def test_two_payments_of_one_attempt_are_an_alarm(state: AttemptState) -> None:
    """The second number changes no state, so that the first payment stays counted."""
    booking = book(record(state), At.PAID, ruling(V.PAID, number="p2"), LateMoney.REINSTATE)
    assert booking.record == record(state, alarm="two payments for one attempt: p1 and p2")


def test_one_payment_of_two_attempts_is_an_alarm() -> None:
    """The number pays no second order."""
    booking = book(record(S.PENDING), At.UNPAID, ruling(V.PAID), LateMoney.REINSTATE, number_taken=True)
    assert (booking.record.state, booking.effect) == (S.PENDING, E.NONE)
    assert booking.record.alarm == "payment p1 belongs to another attempt as well"


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (ruling(V.PAID, Decimal("NaN")), "an amount of NaN"),
        (ruling(V.PAID, Decimal("Infinity")), "an amount of Infinity"),
        (ruling(V.PAID, Decimal(10) ** 30), "an amount of 1E+30"),
        (ruling(V.PAID, DUE, Decimal("NaN")), "an amount of NaN"),
        (ruling(V.REFUNDED, DUE, Decimal("-Infinity")), "an amount of -Infinity"),
        (ruling(V.PAID, number="9" * 65), "a payment whose number cannot be stored: '9"),
        (ruling(V.PAID, number="p\0"), r"a payment whose number cannot be stored: 'p\x00'"),
    ],
    ids=["no number", "infinite", "too large", "no refund", "infinite refund", "long reference", "NUL"],
)
@pytest.mark.parametrize("state", [S.PENDING, S.CLOSED, S.REFUND_DUE])
def test_a_report_that_no_row_can_store_is_an_alarm(state: AttemptState, report: Ruling, sentence: str) -> None:
    """Such a report would fail each time that the gateway repeats it, and no person would learn of it."""
    before = record(state, provider_reference="")
    booking = book(before, At.UNPAID, report, LateMoney.REINSTATE)
    assert booking.record == replace(before, alarm=booking.record.alarm)
    assert booking.record.alarm.startswith(f"the gateway reported {sentence}")
    assert booking.effect is E.NONE
    assert not takes_number(before, report)


@pytest.mark.parametrize("report", [ruling(V.REFUNDED), ruling(V.CLOSED), ruling(V.PAID, PART)])
def test_an_alarm_about_a_second_payment_lasts(report: Ruling) -> None:
    """The first payment is refunded, or contradicted: the second one still needs a person."""
    first = record(S.SUCCEEDED)
    alarmed = book(first, At.PAID, ruling(V.PAID, number="p2"), LateMoney.REINSTATE).record
    assert book(alarmed, At.PAID, report, LateMoney.REINSTATE).record.alarm == "two payments for one attempt: p1 and p2"


def test_a_payment_of_nothing_is_an_alarm() -> None:
    """A provider that reports 0.00 as paid has said nothing that can be booked."""
    booking = book(record(S.PENDING), At.UNPAID, ruling(V.PAID, Decimal(0)), LateMoney.REINSTATE)
    assert (booking.record.state, booking.record.alarm) == (S.PENDING, "the gateway reported a payment of 0")


@pytest.mark.parametrize("verdict", [V.CLOSED, V.ABSENT])
@pytest.mark.parametrize("state", [state for state in S if state.has_money])
def test_a_provider_that_forgot_a_payment_is_an_alarm(state: AttemptState, verdict: Verdict) -> None:
    """Another account at the provider knows none of the payments: the money does not count as refunded."""
    booking = book(record(state), At.PAID, ruling(verdict), LateMoney.REINSTATE, money_was_known=True)
    assert booking.record.state is state
    assert booking.record.alarm == "the gateway does not know that 58.00 was paid"


@pytest.mark.parametrize("verdict", [V.CLOSED, V.ABSENT])
@pytest.mark.parametrize("state", [state for state in S if state.has_money])
def test_an_answer_from_before_the_payment_is_no_alarm(state: AttemptState, verdict: Verdict) -> None:
    """The gateway answered, the buyer paid, the notify was booked, and the answer is booked last."""
    booking = book(record(state), At.PAID, ruling(verdict), LateMoney.REINSTATE)
    assert booking.record == record(state)


amounts = st.sampled_from([None, Decimal(0), PART, DUE, DUE + PART])
reports = st.builds(ruling, st.sampled_from(V), amounts, amounts, st.sampled_from(["", "p1", "p2"]))


@given(st.lists(st.tuples(reports, st.booleans()), max_size=8), st.sampled_from(At), st.sampled_from(LateMoney))
def test_whatever_is_reported_no_money_is_forgotten(
    steps: list[tuple[Ruling, bool]], order: OrderState, policy: LateMoney
) -> None:
    """Reports in any sequence: an order is paid at most once, money stays known, and a refund stays final."""
    stored = record(S.CREATED)
    paid = 0
    for report, stock in steps:
        booking = book(stored, order, report, policy)
        new = booking.record
        if booking.effect is E.REINSTATE and not stock:
            new = replace(new, state=S.REFUND_DUE)
        elif booking.effect in (E.PAY, E.REINSTATE):
            paid += 1
            order = At.PAID
            assert new.kept == new.amount
        assert new.refunded >= stored.refunded
        assert stored.paid is None or new.paid is not None
        assert not stored.state.has_money or new.state.has_money or new.state is S.REFUNDED
        assert stored.state is not S.REFUNDED or new.state is S.REFUNDED
        assert new.state is not S.REFUNDED or new.kept == 0
        assert new.state is not S.REVIEW or new.alarm
        if report.verdict is V.PAID and new.state.open | (new.state is S.CLOSED):
            assert new.alarm or new.written_off  # a person looks, or has looked, at the only money that is not booked
        stored = new
    assert paid <= 1


def test_when_to_ask_again() -> None:
    """A buyer has a minute; what may still bring money is asked ever less often; what is final never."""
    minute = timedelta(minutes=1)
    assert [ask_in(S.PENDING, asks, order_waits=True) for asks in (0, 1, 9)] == [minute, 2 * minute, 10 * minute]
    assert ask_in(S.UNKNOWN, 0, order_waits=False) == timedelta(0)
    assert ask_in(S.REFUND_DUE, 0, order_waits=False) == timedelta(0)
    closed = [ask_in(S.CLOSED, asks, order_waits=False) for asks in range(CLOSED_ASKS + 1)]
    assert closed[:3] == [minute, 5 * minute, 25 * minute]
    assert closed[CLOSED_ASKS] is None
    assert sum(filter(None, closed), timedelta(0)) > timedelta(hours=25)
    assert ask_in(S.SUCCEEDED, 0, order_waits=False) is None
    assert ask_in(S.REFUNDED, 0, order_waits=False) is None
