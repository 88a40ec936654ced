"""An order whose deadline is extended while the timer is closing its attempts may be paid again (M8)."""

from collections.abc import Mapping

import pytest

from lapse import Move
from lapse.engine.deadline import Claim
from lapse.orders import EXPIRED, Lapsing, OrderBatch, Outcome, Ruling, Verdict, WrongTransition
from tests.orders.second_framework import BUYER, FUTURE, PAST, Market, PlainShop, Row

OPEN: Mapping[str, object] = {"status": "awaiting"}


@pytest.fixture(autouse=True)
def reopening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare `reopened`, and let the hook write a line."""
    monkeypatch.setattr(PlainShop, "reopened", OPEN)
    monkeypatch.setattr(PlainShop, "on_reopened", lambda shop, orders: shop._note("reopened", orders))


def extend(market: Market, key: str = "a") -> None:
    """Move the deadline into the future, as a merchant does."""
    market.connection.execute("UPDATE orders SET due = ? WHERE key = ?", [FUTURE.timestamp(), key])


def reopened(market: Market) -> list[str]:
    """Return the keys for which the hook was called."""
    return [key for what, key, _, _ in market.log() if what == "reopened"]


@pytest.mark.parametrize("verdict", [Verdict.CLOSED, Verdict.UNKNOWN, Verdict.ABSENT])
def test_m8_an_order_extended_while_the_gateway_is_called_may_be_paid_again(market: Market, verdict: Verdict) -> None:
    """Step three finds the new deadline: the order waits for its payment, its reason is reset, and the hook knows."""
    market.place("a", attempts=1)
    market.till.verdicts = {"a-0": verdict}
    market.till.meanwhile = lambda: extend(market)
    assert market.lapse("a") == {"a": Outcome.NOT_DUE}
    assert market.state("a") == ("awaiting", "")
    assert market.log() == [("closing", "a", EXPIRED, "timer"), ("reopened", "a", EXPIRED, "timer")]


def test_m8_an_order_extended_after_a_crash_is_reopened_by_the_next_call(market: Market) -> None:
    """The process that began died. Step one of the next call finds the new deadline, and the timer moves to it."""
    market.place("a", attempts=1)
    market.transition().begin(["a"])
    extend(market)
    claim = Claim(key="a", due_at=PAST, token=1, attempt=1, claimed_at=PAST, leased_until=FUTURE)
    assert Lapsing(market.transition(), market.shop.tills).handle([claim]) == {"a": Move(FUTURE)}
    assert market.state("a") == ("awaiting", "")
    assert market.lapse("a") == {"a": Outcome.NOT_DUE}
    assert reopened(market) == ["a"]


def test_m8_money_that_comes_with_the_ruling_wins(market: Market) -> None:
    """The order is paid, and not opened again."""
    market.place("a", attempts=1)
    market.till.verdicts = {"a-0": Verdict.PAID}
    market.till.meanwhile = lambda: extend(market)
    assert market.lapse("a") == {"a": Outcome.PAID}
    assert market.state("a") == ("paid", "")
    assert reopened(market) == []


def test_m8_a_persons_cancel_in_progress_is_never_taken_back(market: Market) -> None:
    """The buyer began to cancel; neither the timer nor the buyer's own steps open the order again."""
    market.place("a", due=FUTURE, attempts=1)
    market.till.verdicts = {"a-0": Verdict.UNKNOWN}
    assert market.lapse("a", cause=BUYER) == {"a": Outcome.UNANSWERED}
    assert market.lapse("a") == {"a": Outcome.NOT_DUE}
    assert market.state("a") == ("closing", "buyer")
    market.till.verdicts = {}
    assert market.lapse("a", cause=BUYER) == {"a": Outcome.LAPSED}
    assert reopened(market) == []


def test_m8_an_order_that_waits_for_its_payment_is_left_as_it_is(market: Market) -> None:
    """Not due and not closing: nothing is written."""
    market.place("a", due=FUTURE)
    assert market.lapse("a") == {"a": Outcome.NOT_DUE}
    assert reopened(market) == []


@pytest.mark.parametrize(("name", "value"), [("reopened", None), ("closing", None), ("reason_field", None)])
def test_m8_without_the_declarations_nothing_is_reopened(
    market: Market, monkeypatch: pytest.MonkeyPatch, name: str, value: None
) -> None:
    """Without the reason, a person's cancel looks like the timer's; without `closing` there is nothing to take back."""
    market.place("a", attempts=1)
    market.transition().begin(["a"])
    extend(market)
    monkeypatch.setattr(PlainShop, name, value)
    before = market.state("a")
    assert market.lapse("a") == {"a": Outcome.NOT_DUE}
    assert market.state("a") == before
    assert reopened(market) == []


def test_m8_a_reopened_row_must_count_as_unpaid(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it could neither be paid nor lapse: rolled back, and loud."""
    monkeypatch.setattr(PlainShop, "reopened", {"status": "open"})
    market.place("a", attempts=1)
    market.transition().begin(["a"])
    extend(market)
    with pytest.raises(WrongTransition, match="`reopened` was written, order 'a' no longer counts as unpaid"):
        market.lapse("a")
    assert market.state("a") == ("closing", EXPIRED)


def test_a_payment_waits_for_the_rows_lock_and_is_not_dropped(market: Market) -> None:
    """Another transaction has locked both rows: the PAID ruling waits for it, the other one is tried again soon."""
    market.place("paid", "closed", attempts=1)
    (paid, closed) = sorted(market.transition().begin(["paid", "closed"]).attempts, key=lambda one: one.reference)[::-1]
    market.rows.locked = {"paid", "closed"}
    rulings = [Ruling(paid, Verdict.PAID), Ruling(closed, Verdict.CLOSED)]
    results = market.transition().finish(rulings)
    assert {key: result.outcome for key, result in results.items()} == {"paid": Outcome.PAID, "closed": Outcome.LOCKED}
    assert market.state("paid") == ("paid", "")
    assert market.rows.waited_for == ["paid"]


def test_the_hook_receives_a_batch(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the new values, the timer's reason and its name."""
    seen: list[OrderBatch[Row]] = []
    monkeypatch.setattr(PlainShop, "on_reopened", lambda _, orders: seen.append(orders))
    market.place("a", "b", attempts=1)
    market.transition().begin(["a", "b"])
    extend(market)
    extend(market, "b")
    market.lapse("a", "b")
    (batch,) = seen
    assert [order.key for order in batch] == ["a", "b"]
    assert {(order.status, order.reason) for order in batch} == {("awaiting", "")}
    assert (batch.reason, batch.actor) == (EXPIRED, "timer")
