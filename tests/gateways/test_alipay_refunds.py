"""Refunds at Alipay: what each answer and each refusal means, and what a notify of a refund says."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lapse.gateways.alipay import AlipayGateway, AlipayRefused, Flaw, MessageRefused, Notification, TradeStatus
from lapse.gateways.alipay.refunds import LATER, REFUND, REFUND_QUERY, REFUSED, key_of
from lapse.orders import Attempt, Refund, RefundState, Verdict
from lapse.testing.alipay import AlipaySimulator, Buyer, sign_notify
from tests.gateways.listening import Listener

CHECKOUT = Path(__file__).parents[2]
AMOUNT = Decimal("58.00")
PART = Decimal("8.00")
NUMBERS = (f"refund{number}" for number in itertools.count())
Answer = Callable[[str, dict[str, str]], dict[str, Any]]


def paid(gateway: AlipayGateway) -> Attempt:
    """Return a new attempt that the buyer has paid."""
    number = next(NUMBERS)
    buyer = Buyer(gateway.page_pay_url(number, AMOUNT, "茶杯", datetime.now(UTC) + timedelta(minutes=10)))
    assert buyer.scan()
    assert buyer.pay()
    return Attempt("order", number, "alipay")


def refunded(alipay: AlipaySimulator, attempt: Attempt) -> Decimal:
    """Return what the simulator has refunded."""
    trade = alipay.trade(attempt.reference)
    assert trade
    return Decimal(trade["refunded"])


# --- the key ---


def test_the_key_is_the_attempts_alone() -> None:
    """Each attempt has one key, of 64 characters at most, also where its number has the most that Alipay takes."""
    long = [Attempt("order", f"{number:064}", "alipay") for number in range(2)]
    keys = [key_of(attempt) for attempt in long]
    assert len(set(keys)) == 2
    assert all(len(key) <= 64 and key.isascii() and key.replace("_", "").isalnum() for key in keys)
    assert key_of(replace(long[0], order_key="another", expires_in=timedelta(1))) == keys[0]
    assert key_of(Attempt("order", "a1", "alipay")) == "a1_refund"


# --- refusals ---


@pytest.mark.parametrize(("table", "state"), [(REFUSED, RefundState.REFUSED), (LATER, RefundState.UNKNOWN)])
def test_each_code_of_a_refusal(
    gateway: AlipayGateway, alipay: AlipaySimulator, table: Mapping[str, str], state: RefundState
) -> None:
    """A code is final or not, as its table says, and the answer tells an operator the code and what to do."""
    attempt = paid(gateway)
    for code, advice in table.items():
        alipay.faults(refund_refused=code)
        refund = gateway.refund(attempt, AMOUNT)
        assert (refund.state, refund.amount) == (state, None)
        assert code in refund.reason
        assert refund.reason.endswith(advice)
    alipay.faults(refund_refused="")
    assert gateway.refund(attempt, AMOUNT) == Refund(attempt, RefundState.DONE, amount=AMOUNT)


def test_the_page_has_each_code() -> None:
    """The how-to says of each code whether it is final, and what to do."""
    page = (CHECKOUT / "docs" / "how-to" / "pay-by-alipay.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `ACQ.")]
    for table, word in ((REFUSED, "refused"), (LATER, "later")):
        for code, advice in table.items():
            assert any(f"`{code}`" in row and f"| {word} | {advice} |" in row for row in rows), code


def test_an_unknown_code_decides_nothing(gateway: AlipayGateway, alipay: AlipaySimulator) -> None:
    """What Lapse does not know is never taken for a final refusal."""
    alipay.faults(refund_refused="ACQ.NEW_IN_2031")
    assert gateway.refund(paid(gateway), AMOUNT).state == RefundState.UNKNOWN


@pytest.mark.parametrize("amount", ["0", "-1", "0.001", "NaN", "Infinity"])
def test_an_amount_that_is_none_is_refused_without_a_call(
    gateway: AlipayGateway, alipay: AlipaySimulator, amount: str
) -> None:
    """The same call could never succeed, so it is not repeated for ever."""
    attempt = paid(gateway)
    refund = gateway.refund(attempt, Decimal(amount))
    assert refund.state == RefundState.REFUSED
    assert amount in refund.reason
    assert refunded(alipay, attempt) == 0


def test_a_refund_that_took_effect_is_never_refused(gateway: AlipayGateway, alipay: AlipaySimulator) -> None:
    """The first answer was lost. The second call may be refused by any code: Alipay's record of the refund decides."""
    attempt = paid(gateway)
    alipay.faults(hanging=[REFUND], hang=20)
    with AlipayGateway(replace(gateway.settings, timeout=timedelta(seconds=0.5))) as hasty:
        assert hasty.refund(attempt, AMOUNT).state == RefundState.UNKNOWN
    for code in ("ACQ.TRADE_STATUS_ERROR", "ACQ.TRADE_HAS_CLOSE", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"):
        alipay.faults(hanging=[], refund_refused=code)
        assert gateway.refund(attempt, AMOUNT) == Refund(attempt, RefundState.DONE, amount=AMOUNT)
    other = gateway.refund(attempt, PART)
    assert (other.state, other.reason) == (RefundState.REFUSED, "58.00 yuan were refunded before")
    assert refunded(alipay, attempt) == AMOUNT


# --- answers ---


def answers(monkeypatch: pytest.MonkeyPatch, gateway: AlipayGateway, by_method: Mapping[str, Any]) -> None:
    """Let the client return these verified answers, or raise these errors."""

    def call(method: str, _content: dict[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] | Exception = by_method[method]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(gateway._client, "call", call)


ATTEMPT = Attempt("order", "a1", "alipay")
MOVED = {"code": "10000", "out_trade_no": "a1", "fund_change": "Y", "refund_fee": "58.00"}
FOUND = {
    "out_trade_no": "a1",
    "out_request_no": "a1_refund",
    "refund_amount": "58.00",
    "refund_status": "REFUND_SUCCESS",
}


@pytest.mark.parametrize(
    ("answer", "recorded", "state"),
    [
        (MOVED, {}, RefundState.DONE),
        (MOVED | {"refund_fee": "66.00"}, {}, RefundState.DONE),  # the total: a part was refunded before
        (MOVED | {"refund_fee": "57.99"}, {}, RefundState.UNKNOWN),
        (MOVED | {"refund_fee": "garbage"}, FOUND, RefundState.UNKNOWN),
        (MOVED | {"refund_fee": None}, {}, RefundState.UNKNOWN),
        (MOVED | {"refund_fee": 58}, {}, RefundState.UNKNOWN),
        (MOVED | {"out_trade_no": ""}, {}, RefundState.UNKNOWN),
        (MOVED | {"fund_change": "N"}, {}, RefundState.UNKNOWN),
        (MOVED | {"fund_change": "N"}, FOUND, RefundState.DONE),
        ({"code": "10000"}, FOUND, RefundState.DONE),
        ({"code": "10000"}, FOUND | {"refund_amount": "8.00"}, RefundState.REFUSED),
        ({"code": "10000"}, FOUND | {"refund_status": "REFUND_PROCESSING"}, RefundState.PENDING),
        ({"code": "10000"}, FOUND | {"refund_status": "REFUND_ODD"}, RefundState.UNKNOWN),
    ],
)
def test_answers_to_a_refund(
    gateway: AlipayGateway,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    recorded: dict[str, Any],
    state: RefundState,
) -> None:
    """Code 10000 is not enough: money moved, or Alipay has a record of the refund. A malformed answer never crashes."""
    answers(monkeypatch, gateway, {REFUND: answer, REFUND_QUERY: recorded})
    assert gateway.refund(ATTEMPT, AMOUNT).state == state


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"code": "10000", "msg": "Success"}, RefundState.ABSENT),
        (FOUND, RefundState.DONE),
        (FOUND | {"refund_status": ""}, RefundState.UNKNOWN),
        (FOUND | {"refund_amount": "x"}, RefundState.UNKNOWN),
        (FOUND | {"refund_amount": ""}, RefundState.UNKNOWN),
        (FOUND | {"out_request_no": "a2_refund"}, RefundState.UNKNOWN),
        (AlipayRefused("40004", "ACQ.TRADE_NOT_EXIST", ""), RefundState.ABSENT),
        (AlipayRefused("40004", "TRADE_NOT_EXIST", ""), RefundState.ABSENT),
        (AlipayRefused("40002", "isv.invalid-signature", ""), RefundState.UNKNOWN),
    ],
)
def test_answers_to_the_query_of_a_refund(
    gateway: AlipayGateway, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | Exception, state: RefundState
) -> None:
    """No record means no refund; a record of another refund, or one that cannot be read, decides nothing."""
    answers(monkeypatch, gateway, {REFUND_QUERY: answer})
    assert gateway.refund_status(ATTEMPT).state == state


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.CLOSED),
        ({"refund_fee": "0.00"}, Verdict.CLOSED),
        ({"send_pay_date": "2026-01-01 10:00:00"}, Verdict.REFUNDED),
        ({"gmt_payment": "2026-01-01 10:00:00"}, Verdict.REFUNDED),
        ({"refund_fee": "58.00"}, Verdict.REFUNDED),
        ({"trade_status": "TRADE_FINISHED", "refund_fee": "58.00"}, Verdict.REFUNDED),
        ({"trade_status": "TRADE_FINISHED", "refund_fee": "8.00"}, Verdict.PAID),
        ({"trade_status": "TRADE_FINISHED"}, Verdict.PAID),
        ({"trade_status": "WAIT_BUYER_PAY"}, Verdict.OPEN),
        ({"refund_fee": "x"}, Verdict.UNKNOWN),
    ],
)
def test_closed_is_told_from_refunded(
    gateway: AlipayGateway, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], verdict: Verdict
) -> None:
    """TRADE_CLOSED is a refund if the message has the time of a payment, or an amount refunded above 0."""
    trade = {"out_trade_no": "a1", "trade_no": "t1", "trade_status": "TRADE_CLOSED", "total_amount": "58.00"}
    answers(monkeypatch, gateway, {"alipay.trade.query": trade | changes})
    ruling = gateway.query(ATTEMPT)
    assert ruling.verdict == verdict
    if verdict == Verdict.REFUNDED:
        assert ruling.refunded == ruling.amount == AMOUNT


def test_answers_that_contradict_each_other_close_nothing(
    gateway: AlipayGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Close says that the trade is paid or closed, and the query knows no trade: the money may be there."""
    refusals = {
        "alipay.trade.close": AlipayRefused("40004", "ACQ.TRADE_STATUS_ERROR", ""),
        "alipay.trade.query": AlipayRefused("40004", "ACQ.TRADE_NOT_EXIST", ""),
    }
    answers(monkeypatch, gateway, refusals)
    assert gateway.close(replace(ATTEMPT, expires_in=-timedelta(days=1))).verdict == Verdict.UNKNOWN


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2)
FIELDS = {
    "out_trade_no": st.just("a1"),
    "trade_no": st.just("t1"),
    "trade_status": st.sampled_from(TradeStatus),
    "total_amount": st.just("58.00"),
    "refund_fee": st.sampled_from(["0.00", "8.00", "58.00", "99.00"]),
    "send_pay_date": st.just("2026-01-01 10:00:00"),
    "fund_change": st.sampled_from(["Y", "N"]),
    "out_request_no": st.just("a1_refund"),
    "refund_status": st.sampled_from(["REFUND_SUCCESS", "REFUND_PROCESSING"]),
    "refund_amount": st.sampled_from(["8.00", "58.00"]),
}
ANSWERS = st.fixed_dictionaries({}, optional={name: right | VALUES for name, right in FIELDS.items()})


@given(ANSWERS, ANSWERS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_crashes(gateway: AlipayGateway, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Any signed answer, with any field missing or wrong, is a ruling or a refund; DONE only with evidence."""
    with pytest.MonkeyPatch.context() as patch:
        by_method = {f"alipay.trade.{name}": first for name in ("query", "close", "refund")}
        answers(patch, gateway, by_method | {REFUND_QUERY: second})
        ruling = gateway.query(ATTEMPT)
        if ruling.verdict in (Verdict.PAID, Verdict.REFUNDED):
            assert ruling.amount == AMOUNT
            assert ruling.provider_reference == "t1"
        assert gateway.close(ATTEMPT).verdict == Verdict.CLOSED
        status = gateway.refund_status(ATTEMPT)
        refund = gateway.refund(ATTEMPT, AMOUNT)
        if refund.state == RefundState.DONE:
            assert refund.amount == AMOUNT
            assert first.get("fund_change") == "Y" or status == refund


# --- notifies ---


def test_notifies_say_what_was_refunded(gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener) -> None:
    """A payment, two partial refunds in Alipay's console, the rest by the shop: each notify has the total."""
    attempt = paid(gateway)
    shop.wait_for(1)
    alipay.refund(attempt.reference, PART)
    shop.wait_for(2)
    alipay.refund(attempt.reference, PART)
    shop.wait_for(3)
    assert gateway.query(attempt).refunded is None  # the query cannot see a part
    assert gateway.refund(attempt, AMOUNT - 2 * PART).state == RefundState.DONE
    shop.wait_for(4)
    read = [gateway.read_notify(*body) for body in shop.bodies]
    assert [one.ruling(attempt).verdict for one in read] == [Verdict.PAID] * 3 + [Verdict.REFUNDED]
    assert [one.ruling(attempt).refunded for one in read] == [None, PART, 2 * PART, AMOUNT]
    assert {one.ruling(attempt).amount for one in read} == {AMOUNT}
    assert read[3].refund_key == key_of(attempt)
    assert len({one.identity for one in read}) == 4
    assert max(len(one.identity) for one in read) <= 160
    assert read[1].ruling() == read[1].ruling(Attempt("", attempt.reference, "alipay"))
    with pytest.raises(ValueError, match="not about"):
        read[0].ruling(ATTEMPT)


def test_a_notify_that_says_the_same_has_the_same_identity(
    gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener
) -> None:
    """Alipay may notify of one state twice, with another number and another time."""
    attempt = paid(gateway)
    shop.wait_for(1)
    alipay.refund(attempt.reference, PART)
    shop.wait_for(2)
    alipay.notify(attempt.reference)
    shop.wait_for(3)
    _, first, second = (gateway.read_notify(*body) for body in shop.bodies)
    assert first.notify_id != second.notify_id
    assert first.identity == second.identity


def test_an_unreadable_amount_refunded(gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener) -> None:
    """A signed notify with such an amount is malformed: it must not pass for one without a refund."""
    attempt = paid(gateway)
    shop.wait_for(1)
    alipay.notify(attempt.reference, refund_fee="eight")
    shop.wait_for(2)
    with pytest.raises(MessageRefused, match="refund_fee") as refused:
        gateway.read_notify(*shop.bodies[-1])
    assert refused.value.flaw == Flaw.MALFORMED


def test_a_close_that_alipay_notifies_of(gateway: AlipayGateway, alipays_keys: Any) -> None:
    """A trade that was closed unpaid has `refund_fee` 0.00 in Alipay's notify, and is no refund."""
    form = {
        "app_id": gateway.settings.app_id,
        "seller_id": gateway.settings.seller_id,
        "out_trade_no": "a1",
        "trade_no": "t1",
        "trade_status": "TRADE_CLOSED",
        "total_amount": "58.00",
        "refund_fee": "0.00",
        "gmt_close": "2026-01-01 10:00:00",
        "sign_type": "RSA2",
    }
    body = "&".join(f"{name}={value}" for name, value in sign_notify(form, alipays_keys.private).items())
    notification = gateway.read_notify(body.replace("+", "%2B").encode())
    assert isinstance(notification, Notification)
    assert notification.trade.status == TradeStatus.TRADE_CLOSED
    assert notification.ruling(ATTEMPT).verdict == Verdict.CLOSED
