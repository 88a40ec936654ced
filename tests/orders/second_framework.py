"""A second framework, for tests: rows in the standard library's sqlite3, and a shop without Django."""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from lapse import Deadline
from lapse.orders import (
    Attempt,
    Cause,
    ClosingGateway,
    Lapsing,
    OrderBatch,
    Orders,
    Outcome,
    Result,
    Rows,
    Ruling,
    Shop,
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

    def deadline_of(self, order: Row) -> datetime:
        """Return the deadline."""
        return datetime.fromtimestamp(order.due, UTC)

    def deadline_values(self, until: datetime) -> Mapping[str, object]:
        """Return the column with its value."""
        return {"due": until.timestamp()}

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

    def unreadable(self, limit: int) -> Mapping[str, str]:
        """Return nothing: the column takes numbers only."""
        del limit
        return {}

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
        self.tills: Mapping[str, ClosingGateway] = {"till": till}
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
