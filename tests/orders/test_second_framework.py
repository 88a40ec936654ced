"""A second framework supplies rows and nothing else: here, the standard library's sqlite3."""

from collections.abc import Sequence

import pytest

from lapse import LapseError
from lapse.orders import (
    EXPIRED,
    TIMER,
    Attempt,
    Cause,
    Lapsing,
    OrderBatch,
    Outcome,
    Rows,
    Ruling,
    Sweep,
    Transition,
    Verdict,
)
from tests.orders.second_framework import BUYER, FUTURE, MERCHANT, PAST, Market, Row


def test_a_sweep_lapses_what_is_overdue(market: Market) -> None:
    """With rows alone, the sweep and the three steps work: closed at the gateway, cancelled, given back once."""
    market.place("a", "b", attempts=1)
    market.place("later", due=FUTURE)
    lapsing = Lapsing(market.transition(), market.shop.tills)
    assert Sweep(lapsing, batch=1, hooks=()).once().lapsed == 2
    assert Sweep(lapsing, hooks=()).once().lapsed == 0
    assert [market.state(key) for key in ("a", "b", "later")] == [("cancelled", EXPIRED)] * 2 + [("awaiting", "")]
    assert [line[0] for line in market.log()].count("cancelled") == 2
    assert [found.key for found in market.transition().deadlines()] == ["later"]


def test_every_key_has_its_outcome(market: Market) -> None:
    """Due, not due, paid, locked by another transaction, unknown."""
    market.place("due", "paid", "locked")
    market.place("later", due=FUTURE)
    market.connection.execute("UPDATE orders SET status = 'paid' WHERE key = 'paid'")
    market.rows.locked = {"locked"}
    assert market.lapse("due", "paid", "locked", "later", "none") == {
        "due": Outcome.LAPSED,
        "paid": Outcome.NOT_UNPAID,
        "locked": Outcome.LOCKED,
        "later": Outcome.NOT_DUE,
        "none": Outcome.UNKNOWN,
    }
    assert market.rows.waited_for == []


@pytest.mark.parametrize(
    ("verdict", "outcome", "state"),
    [
        (Verdict.CLOSED, Outcome.LAPSED, "cancelled"),
        (Verdict.PAID, Outcome.PAID, "paid"),
        (Verdict.UNKNOWN, Outcome.UNANSWERED, "closing"),
    ],
)
@pytest.mark.parametrize("cause", [None, BUYER])
def test_the_verdict_decides(
    market: Market, verdict: Verdict, outcome: Outcome, state: str, cause: Cause | None
) -> None:
    """For the timer as for a person, who does not wait for the deadline: closed cancels, money wins, silence holds."""
    market.place("a", due=FUTURE if cause else PAST, attempts=2)
    market.till.verdicts = {"a-1": verdict}
    assert market.lapse("a", cause=cause) == {"a": outcome}
    assert market.state("a")[0] == state


def test_a_person_cancels_before_the_deadline_and_waits_for_a_locked_row(market: Market) -> None:
    """The timer would do neither."""
    market.place("a", "b", due=FUTURE)
    market.rows.locked = {"b"}
    assert market.lapse("a", "b") == {"a": Outcome.NOT_DUE, "b": Outcome.NOT_DUE}
    assert market.lapse("a", "b", cause=BUYER) == {"a": Outcome.LAPSED, "b": Outcome.LAPSED}
    assert market.rows.waited_for == ["b"]
    assert market.log() == [("cancelled", key, "buyer", "buyer 7") for key in ("a", "b")]
    assert market.lapse("a", cause=MERCHANT) == {"a": Outcome.NOT_UNPAID}
    assert market.state("a") == ("cancelled", "buyer")


def test_the_first_reason_outlives_a_crash_between_the_steps(market: Market) -> None:
    """The buyer's process ends after step one; the merchant and then the timer go on, and the reason is the buyer's."""
    market.place("a", attempts=1)
    assert [one.reference for one in market.transition(BUYER).begin(["a"]).attempts] == ["a-0"]
    market.transition(MERCHANT).begin(["a"])
    assert market.state("a") == ("closing", "buyer")
    assert market.lapse("a") == {"a": Outcome.LAPSED}
    assert market.state("a") == ("cancelled", "buyer")
    assert market.log() == [("closing", "a", "buyer", "buyer 7"), ("cancelled", "a", "buyer", TIMER)]


def test_each_call_of_a_hook_has_one_reason_and_a_transaction_of_its_own(market: Market) -> None:
    """Orders of three reasons in one batch: three calls, and the failure of one takes back no other."""
    market.place("a", "b", "c", "d")
    market.connection.execute("UPDATE orders SET reason = 'buyer' WHERE key IN ('a', 'd')")
    market.connection.execute("UPDATE orders SET reason = 'fraud' WHERE key = 'c'")
    assert set(market.lapse("a", "b", "c", "d").values()) == {Outcome.LAPSED}
    assert market.shop.calls == [
        ("cancelled", "buyer", TIMER, ("a", "d")),
        ("cancelled", EXPIRED, TIMER, ("b",)),
        ("cancelled", "fraud", TIMER, ("c",)),
    ]


def test_reasons_are_kept_apart_in_step_three_as_well(market: Market) -> None:
    """Attempts of orders with two reasons are closed together, and each order keeps its own."""
    market.place("a", "b", attempts=1)
    market.transition(BUYER).begin(["b"])
    assert market.lapse("a", "b") == {"a": Outcome.LAPSED, "b": Outcome.LAPSED}
    assert [market.state(key)[1] for key in ("a", "b")] == [EXPIRED, "buyer"]
    assert [call[1] for call in market.shop.calls if call[0] == "cancelled"] == [EXPIRED, "buyer"]


def test_an_order_that_is_closing_already_begins_to_close_once(market: Market) -> None:
    """However often its gateway is silent."""
    market.place("a", attempts=1)
    market.till.verdicts = {"a-0": Verdict.UNKNOWN}
    for _ in range(3):
        assert market.lapse("a") == {"a": Outcome.UNANSWERED}
    assert [call[0] for call in market.shop.calls] == ["closing"]


@pytest.mark.parametrize("cause", [None, BUYER])
def test_an_attempt_that_is_opened_while_the_gateway_is_asked_keeps_the_order(
    market: Market, cause: Cause | None
) -> None:
    """It has not been closed, so the order stays LOCKED and is begun again."""
    market.place("a", attempts=1)

    def open_another() -> None:
        market.till.meanwhile = lambda: None
        market.connection.execute("INSERT INTO attempts (reference, key) VALUES ('a-new', 'a')")

    market.till.meanwhile = open_another
    assert market.lapse("a", cause=cause) == {"a": Outcome.LOCKED}
    assert market.state("a")[0] == "closing"
    assert market.lapse("a", cause=cause) == {"a": Outcome.LAPSED}


def test_a_payment_that_commits_while_the_gateway_is_asked_wins(market: Market) -> None:
    """Also against a person."""
    market.place("a", due=FUTURE, attempts=1)
    market.till.meanwhile = lambda: market.connection.execute("UPDATE orders SET status = 'paid', reason = ''")
    assert market.lapse("a", cause=BUYER) == {"a": Outcome.NOT_UNPAID}
    assert market.state("a") == ("paid", "")


def test_money_has_a_transaction_of_its_own(market: Market) -> None:
    """Of two orders that were found paid, the first is committed although the second one's hook fails."""
    market.place("a", "b", attempts=1)
    attempts = market.transition().begin(["a", "b"]).attempts
    genuine = market.shop.on_ruling

    def fail_on_b(order: Row, rulings: Sequence[Ruling]) -> bool:
        if order.key == "b":
            raise RuntimeError("b")
        return genuine(order, rulings)

    market.shop.on_ruling = fail_on_b  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="b"):
        market.transition().finish([Ruling(attempt, Verdict.PAID) for attempt in attempts])
    assert [market.state(key)[0] for key in ("a", "b")] == ["paid", "closing"]


def test_a_hook_that_fails_leaves_everything_as_it_was(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """State, log and disarming are of one transaction."""
    market.place("a")

    def fail(_: OrderBatch[Row]) -> None:
        raise RuntimeError("no stock table")

    monkeypatch.setattr(market.shop, "on_lapse", fail)
    with pytest.raises(RuntimeError, match="no stock table"):
        market.lapse("a")
    assert market.state("a") == ("awaiting", "")


def test_what_is_cancelled_is_disarmed_in_the_transaction(market: Market) -> None:
    """The keys of the cancelled orders only, while the transaction is open."""
    market.place("a", "held", due=FUTURE)
    market.connection.execute("INSERT INTO attempts (reference, key) VALUES ('held-0', 'held')")
    market.till.verdicts = {"held-0": Verdict.UNKNOWN}
    disarmed: list[tuple[list[str], bool]] = []

    def disarm(keys: Sequence[str]) -> None:
        disarmed.append((list(keys), market.connection.in_transaction))

    rows: Rows[Row] = market.rows
    Lapsing(Transition(market.shop, rows, BUYER, disarm=disarm), market.shop.tills).lapse(["a", "held"])
    assert disarmed == [(["a"], True)]


def test_an_attempt_of_another_order_is_refused(market: Market) -> None:
    """Its own order would lapse while it is still open."""
    market.place("a", attempts=1)
    market.shop.open_attempts = lambda orders: [Attempt(f"order {orders[0].key}", "x", "till")]  # type: ignore[method-assign]
    with pytest.raises(LapseError, match="must be the order's key"):
        market.lapse("a")
    assert market.state("a") == ("awaiting", "")
