"""What is asked after each transition, a shop's own transition, orders that it postpones, deadlocks, and holding."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import pytest

from lapse import InvalidDeadline, Move, Release
from lapse.engine.deadline import Claim
from lapse.orders import Attempt, Lapsing, NotUnpaid, OrderBatch, Outcome, Ruling, Verdict, WrongTransition
from lapse.orders.hold import hold
from tests.orders.second_framework import BUYER, FUTURE, PAST, Deadlock, Market, PlainShop, Row


def claim(key: str, due_at: datetime = PAST) -> Claim:
    """Return a claim on the order."""
    return Claim(key=key, due_at=due_at, token=1, attempt=1, claimed_at=due_at, leased_until=FUTURE)


def test_a_row_that_still_counts_as_unpaid_rolls_back(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of the transition: no value, no line of the hook, no disarmed deadline."""
    monkeypatch.setattr(PlainShop, "lapsed", {"status": "closing"})
    market.place("a", "b")
    with pytest.raises(WrongTransition, match="2 of the orders \\('a', 'b'\\) still count as unpaid"):
        market.lapse("a", "b")
    assert market.state("a") == ("awaiting", "")
    assert market.log() == []


def test_what_the_hook_writes_counts(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition is asked after the hook: it may make the order unpaid again, or cancel it."""

    def reopen(shop: PlainShop, orders: OrderBatch[Row]) -> None:
        shop.connection.execute("UPDATE orders SET status = 'awaiting' WHERE key = ?", [orders[0].key])

    monkeypatch.setattr(PlainShop, "on_lapse", reopen)
    market.place("a")
    with pytest.raises(WrongTransition):
        market.lapse("a")


def test_a_paid_ruling_must_pay(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """on_ruling() says that the order is paid, and the row says that it is not: loud, and nothing is kept."""
    monkeypatch.setattr(PlainShop, "on_ruling", lambda *_: True)
    market.place("a", attempts=1)
    with pytest.raises(WrongTransition, match="on_ruling"):
        market.lapse("a")
    assert market.state("a")[0] == "closing"


def test_a_closing_row_must_stay_unpaid(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise no process would go on after a crash."""
    monkeypatch.setattr(PlainShop, "closing", {"status": "shutting"})
    market.place("a", attempts=1)
    with pytest.raises(WrongTransition, match="no longer count as unpaid"):
        market.lapse("a")
    assert market.state("a") == ("awaiting", "")


def test_the_shops_own_transition(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called once per order, after the reason was written and before the hook; what it leaves undone rolls back."""
    calls = []

    def transition(shop: PlainShop, order: Row) -> None:
        calls.append((order.key, order.reason))
        if order.key != "bad":
            shop.connection.execute("UPDATE orders SET status = 'cancelled' WHERE key = ?", [order.key])

    monkeypatch.setattr(PlainShop, "lapsed", {})
    monkeypatch.setattr(PlainShop, "transition", transition)
    market.place("a", "b")
    assert set(market.lapse("a", "b").values()) == {Outcome.LAPSED}
    assert calls == [("a", "expired"), ("b", "expired")]
    assert [line[0] for line in market.log()] == ["cancelled", "cancelled"]
    market.place("bad")
    with pytest.raises(WrongTransition, match="'bad'"):
        market.lapse("bad")
    assert market.state("bad") == ("awaiting", "")


@pytest.mark.parametrize("until", [FUTURE, None])
def test_b5_a_postponed_order_is_left_alone(
    market: Market, monkeypatch: pytest.MonkeyPatch, until: datetime | None
) -> None:
    """The others lapse. The timer wakes up at the new time, or leaves the order to the sweep."""

    def postpone(_: PlainShop, orders: Sequence[Row]) -> Mapping[Row, datetime | None]:
        return {order: until for order in orders if order.key == "later"}

    monkeypatch.setattr(PlainShop, "postpone", postpone)
    market.place("a", "later", attempts=0)
    decisions = Lapsing(market.transition(), {}).handle([claim("a"), claim("later")])
    assert decisions == ({"later": Move(FUTURE)} if until else {})
    assert [market.state(key)[0] for key in ("a", "later")] == ["cancelled", "awaiting"]
    decisions = Lapsing(market.transition(), {}).handle([claim("later", FUTURE)])
    assert isinstance(decisions.get("later"), Release if until else type(None))
    assert market.lapse("later", cause=BUYER) == {"later": Outcome.LAPSED}


def test_b5_a_time_that_has_passed_postpones_nothing(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the database's clock. A time without a zone is refused."""
    monkeypatch.setattr(PlainShop, "postpone", lambda _, orders: dict.fromkeys(orders, PAST))
    market.place("a", "b")
    assert market.lapse("a") == {"a": Outcome.LAPSED}
    monkeypatch.setattr(PlainShop, "postpone", lambda _, orders: dict.fromkeys(orders, FUTURE.replace(tzinfo=None)))
    with pytest.raises(InvalidDeadline, match="with a time zone"):
        market.lapse("b")


def test_b6_a_deadlock_is_tried_again(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times; each time the transaction is rolled back, and the hooks run again."""
    errors: list[Exception] = [Deadlock(), Deadlock()]
    on_lapse = PlainShop.on_lapse

    def deadlock(shop: PlainShop, orders: OrderBatch[Row]) -> None:
        on_lapse(shop, orders)
        if errors:
            raise errors.pop()

    monkeypatch.setattr(PlainShop, "on_lapse", deadlock)
    market.place("a", "b")
    assert market.lapse("a") == {"a": Outcome.LAPSED}
    assert len(market.log()) == 1
    errors += [Deadlock(), Deadlock(), Deadlock()]
    with pytest.raises(Deadlock):
        market.lapse("b")
    assert (market.state("b")[0], errors) == ("awaiting", [])


class Held:
    """Holds orders of a market, and notes which keys are disarmed."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.disarmed: list[str] = []

    def pay(self, key: str) -> None:
        """Pay the order as a shop does."""
        with hold(self.market.rows, key, disarm=self.disarm) as order:
            self.market.connection.execute("UPDATE orders SET status = 'paid' WHERE key = ?", [order.key])

    def disarm(self, keys: Collection[str]) -> None:
        """Note the keys."""
        self.disarmed += keys


def test_hold_pays_an_overdue_or_closing_order_once(market: Market) -> None:
    """The second payment is refused, as is one of a cancelled or an unknown order."""
    held = Held(market)
    market.place("overdue", "cancelled")
    market.place("closing", attempts=1)
    market.transition().begin(["closing"])
    market.lapse("cancelled")
    held.pay("overdue")
    held.pay("closing")
    for key, outcome in {"overdue": Outcome.NOT_UNPAID, "cancelled": Outcome.NOT_UNPAID, "x": Outcome.UNKNOWN}.items():
        with pytest.raises(NotUnpaid) as refused:
            held.pay(key)
        assert (refused.value.key, refused.value.outcome) == (key, outcome)
    assert held.disarmed == ["overdue", "closing"]
    ruling = Ruling(Attempt("closing", "closing-0", "till"), Verdict.CLOSED)
    assert market.transition().finish([ruling])["closing"].outcome is Outcome.NOT_UNPAID
    assert market.state("closing")[0] == "paid"


def test_hold_waits_and_disarms_only_what_was_paid(market: Market) -> None:
    """A block that raises is rolled back; one that leaves the order unpaid leaves its deadline armed."""
    held = Held(market)
    market.place("a")
    market.rows.locked = {"a"}
    with hold(market.rows, "a", disarm=held.disarm):
        pass
    held.market.connection.execute("CREATE TRIGGER t AFTER UPDATE ON orders BEGIN SELECT RAISE(FAIL, 'no'); END")
    with pytest.raises(sqlite3.IntegrityError):
        held.pay("a")
    assert (market.rows.waited_for, held.disarmed, market.state("a")[0]) == (["a", "a"], [], "awaiting")
