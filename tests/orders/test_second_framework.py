"""A second framework supplies rows and nothing else: here, the standard library's sqlite3."""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from lapse import Deadline, LapseError
from lapse.orders import (
    EXPIRED,
    TIMER,
    Attempt,
    Cause,
    Gateway,
    Lapsing,
    OrderBatch,
    Orders,
    Outcome,
    Result,
    Rows,
    Ruling,
    Shop,
    Sweep,
    Transition,
    Verdict,
    Which,
)

UNPAID = "status IN ('awaiting', 'closing')"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
PAST, FUTURE = NOW - timedelta(minutes=1), NOW + timedelta(minutes=30)
TABLES = """
CREATE TABLE orders (key TEXT PRIMARY KEY, status TEXT DEFAULT 'awaiting', reason TEXT DEFAULT '', due REAL);
CREATE TABLE attempts (reference TEXT PRIMARY KEY, key TEXT, state TEXT DEFAULT 'open');
CREATE TABLE log (what TEXT, key TEXT, reason TEXT, actor TEXT);
"""
BUYER = Cause("buyer", "buyer 7", person=True)
MERCHANT = Cause("merchant", "clerk 2", person=True)


@dataclass(frozen=True)
class Row:
    """One order as the hooks get it."""

    key: str
    status: str
    reason: str
    due: float


class Deadlock(Exception):
    """What a test raises in place of a database."""


class SqliteRows:
    """The rows of the orders. Every method is one statement; `locked` are keys that another transaction holds."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.locked: set[str] = set()
        self.waited_for: list[str] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end, roll back where the block raises."""
        with self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            yield

    def key_of(self, order: Row) -> str:
        """Return the key."""
        return order.key

    def value_of(self, order: Row, field: str) -> object:
        """Return the value."""
        return getattr(order, field)

    def has(self, order: Row, values: Mapping[str, object]) -> bool:
        """Compare the values; there are no expressions here."""
        return all(getattr(order, name) == value for name, value in values.items())

    def lock(self, keys: Collection[str], which: Which, *, wait: bool) -> Sequence[Row]:
        """Read the rows; sqlite3 has locked the database. Rows that a test calls locked are skipped or waited for."""
        condition = {Which.ALL: "1", Which.UNPAID: UNPAID, Which.DUE: f"{UNPAID} AND due <= {NOW.timestamp()}"}[which]
        rows = self._rows(f"SELECT key, status, reason, due FROM orders WHERE {condition} ORDER BY key")  # noqa: S608
        named = [row for row in rows if row.key in keys]
        if wait:
            self.waited_for += [row.key for row in named if row.key in self.locked]
            return named
        return [row for row in named if row.key not in self.locked]

    def ask(self, keys: Collection[str]) -> Mapping[str, Result]:
        """Return the state of each."""
        found = {row.key: row for row in self._rows("SELECT key, status, reason, due FROM orders")}
        return {key: self._state(found.get(key)) for key in keys}

    def change(self, orders: Sequence[Row], values: Mapping[str, object]) -> Sequence[Row]:
        """Write the values and read the rows again."""
        for order in orders:
            self.connection.execute(
                f"UPDATE orders SET {', '.join(f'{name} = ?' for name in values)} WHERE key = ?",  # noqa: S608
                [*values.values(), order.key],
            )
        keys = {order.key for order in orders}
        rows = self._rows("SELECT key, status, reason, due FROM orders ORDER BY key")
        return [row for row in rows if row.key in keys]

    def unpaid(self, orders: Sequence[Row]) -> Collection[str]:
        """Return the keys of those that are unpaid now."""
        keys = {order.key for order in orders}
        rows = self._rows(f"SELECT key, status, reason, due FROM orders WHERE {UNPAID}")  # noqa: S608
        return {row.key for row in rows if row.key in keys}

    def may_repeat(self, error: Exception) -> bool:
        """Return whether the test says that the error is a deadlock."""
        return isinstance(error, Deadlock)

    def now(self) -> datetime:
        """Return the fixed time."""
        return NOW

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return the overdue orders."""
        end = (NOW - grace).timestamp()
        sql = f"SELECT key, status, reason, due FROM orders WHERE {UNPAID} AND due <= {end} ORDER BY due, key"  # noqa: S608
        listed = [Deadline(row.key, datetime.fromtimestamp(row.due, UTC)) for row in self._rows(sql)]
        return [one for one in listed if after is None or (one.due_at, one.key) > (after.due_at, after.key)][:limit]

    def deadlines(self) -> Iterator[Deadline]:
        """Yield every unpaid order's deadline."""
        for row in self._rows(f"SELECT key, status, reason, due FROM orders WHERE {UNPAID}"):  # noqa: S608
            yield Deadline(row.key, datetime.fromtimestamp(row.due, UTC))

    def _rows(self, sql: str) -> list[Row]:
        return [Row(*row) for row in self.connection.execute(sql)]

    def _state(self, row: Row | None) -> Result:
        if row is None:
            return Result(Outcome.UNKNOWN)
        if row.status not in {"awaiting", "closing"}:
            return Result(Outcome.NOT_UNPAID)
        if row.due > NOW.timestamp():
            due_at = datetime.fromtimestamp(row.due, UTC)
            return Result(Outcome.NOT_DUE, due_at, due_at - NOW)
        return Result(Outcome.LOCKED)


class Till:
    """A gateway; `verdicts` has what it says of a reference, `meanwhile` is called while it is asked."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.meanwhile: Callable[[], object] = lambda: None

    def close(self, attempt: Attempt) -> Ruling:
        """Return what was set, CLOSED otherwise."""
        self.meanwhile()
        return Ruling(attempt, self.verdicts.get(attempt.reference, Verdict.CLOSED))


class PlainShop(Shop[Row]):
    """The hooks of a shop without any framework. `closing` is a mapping and `lapsed` a function."""

    closing: ClassVar[Mapping[str, object]] = {"status": "closing"}
    reason_field = "reason"

    def __init__(self, connection: sqlite3.Connection, till: Till) -> None:
        self.connection = connection
        self.tills: Mapping[str, Gateway] = {"till": till}
        self.calls: list[tuple[str, str, str, tuple[str, ...]]] = []

    def lapsed(self, reason: str, actor: str) -> Mapping[str, object]:
        """Return what is written into a row that is cancelled."""
        assert reason
        assert actor
        return {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Row]) -> None:
        """Note the call, and write one line per order in the transaction."""
        self._note("cancelled", orders)

    def on_closing(self, orders: OrderBatch[Row]) -> None:
        """Note the call, and write one line per order in the transaction."""
        self._note("closing", orders)

    def open_attempts(self, orders: Sequence[Row]) -> Sequence[Attempt]:
        """Return the open attempts."""
        rows = self.connection.execute("SELECT reference, key FROM attempts WHERE state = 'open' ORDER BY reference")
        keys = {order.key for order in orders}
        return [Attempt(key, reference, "till") for reference, key in rows if key in keys]

    def on_ruling(self, order: Row, rulings: Sequence[Ruling]) -> bool:
        """Write down the verdicts; money pays the order."""
        for ruling in rulings:
            if ruling.verdict is not Verdict.UNKNOWN:
                state = (str(ruling.verdict), ruling.attempt.reference)
                self.connection.execute("UPDATE attempts SET state = ? WHERE reference = ?", state)
        if any(ruling.verdict is Verdict.PAID for ruling in rulings):
            sql = f"UPDATE orders SET status = 'paid', reason = '' WHERE key = ? AND {UNPAID}"  # noqa: S608
            return self.connection.execute(sql, [order.key]).rowcount == 1
        return False

    def _note(self, what: str, orders: OrderBatch[Row]) -> None:
        self.calls.append((what, orders.reason, orders.actor, tuple(order.key for order in orders)))
        lines = [(what, order.key, orders.reason, orders.actor) for order in orders]
        self.connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", lines)


class Market:
    """The shop, its rows and its till, with a few words to set a scene."""

    def __init__(self) -> None:
        # A gateway is asked in a thread, and `meanwhile` may look at the database there.
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.executescript(TABLES)
        self.till = Till()
        self.shop = PlainShop(self.connection, self.till)
        self.rows = SqliteRows(self.connection)

    def place(self, *keys: str, due: datetime = PAST, attempts: int = 0) -> None:
        """Place orders, each with so many open attempts to pay."""
        for key in keys:
            self.connection.execute("INSERT INTO orders (key, due) VALUES (?, ?)", (key, due.timestamp()))
            for number in range(attempts):
                self.connection.execute("INSERT INTO attempts (reference, key) VALUES (?, ?)", (f"{key}-{number}", key))

    def transition(self, cause: Cause | None = None) -> Transition[Row]:
        """Return the transition over these rows."""
        rows: Rows[Row] = self.rows
        return Transition(self.shop, rows) if cause is None else Transition(self.shop, rows, cause)

    def lapse(self, *keys: str, cause: Cause | None = None) -> dict[str, Outcome]:
        """Take the three steps for the timer, or for a person; return the outcomes."""
        orders: Orders = self.transition(cause)
        return {key: result.outcome for key, result in Lapsing(orders, self.shop.tills).lapse(keys).items()}

    def state(self, key: str) -> tuple[str, str]:
        """Return the status and the reason of an order."""
        found: tuple[str, str] = self.connection.execute(
            "SELECT status, reason FROM orders WHERE key = ?", [key]
        ).fetchone()
        return found

    def log(self) -> list[tuple[str, str, str, str]]:
        """Return what the hooks wrote."""
        return list(self.connection.execute("SELECT * FROM log ORDER BY rowid"))


@pytest.fixture
def market() -> Iterator[Market]:
    """Open a market and close its connection."""
    opened = Market()
    yield opened
    opened.connection.close()


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
