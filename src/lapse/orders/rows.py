"""The interface that a framework implements: it locks, reads and changes the orders' rows. It makes no decisions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from lapse.engine.deadline import Deadline
from lapse.orders.port import Result
from lapse.orders.shop import R, Values


class Which(StrEnum):
    """Which of the named rows to lock."""

    DUE = "due"
    """Unpaid rows whose deadline has passed, by the database's clock."""
    UNPAID = "unpaid"
    """Unpaid rows, due or not."""
    ALL = "all"
    """All rows that exist."""


class Rows(Protocol[R]):
    """The orders' table. `lock`, `change` and `unpaid` are called inside `transaction()`, the others also outside.

    A key is the text that names the order to the timer. A key that no order can have is ignored; it is not an error.

    The deadline of a row, here and in every `Deadline`, is when the order lapses: its announced deadline and the
    shop's `grace` after it.
    """

    def transaction(self) -> AbstractContextManager[object]:
        """Return a context manager that commits at its end, and rolls back if the block raises.

        The transaction must read what others committed after it began: READ COMMITTED, or a database without row locks.
        """
        ...

    def may_repeat(self, error: Exception) -> bool:
        """Return whether the database ended the transaction to resolve a deadlock, so that it may run once more.

        Inside a transaction of the caller the answer is False: that one has ended as well.
        """
        ...

    def now(self) -> datetime:
        """Return the database's time, in UTC."""
        ...

    def key_of(self, order: R) -> str:
        """Return the key that names the order."""
        ...

    def value_of(self, order: R, field: str) -> object:
        """Return the row's value of the field."""
        ...

    def has(self, order: R, values: Values) -> bool:
        """Return whether the row has these values already.

        A value that only the database knows, such as its time, is not compared. Where all are such values: False.
        """
        ...

    def lock(self, keys: Collection[str], which: Which, *, wait: bool) -> Sequence[R]:
        """Lock these rows until the transaction ends, always in the same order; return them as they are once locked.

        With `wait`, wait for a row that another transaction has locked; without it, skip the row. Lock first, by the
        key alone; then ask in a new statement which rows match `which`. One statement that locks and asks may return
        a row that was paid while the statement waited. Rows of other tables that decide whether an order is unpaid are
        locked as well.
        """
        ...

    def ask(self, keys: Collection[str]) -> Mapping[str, Result]:
        """Return the state of every key, without locks.

        The outcome is NOT_UNPAID, UNKNOWN, NOT_DUE with `due_at` and `due_in`, or LOCKED for an order that is unpaid
        and due.
        """
        ...

    def change(self, orders: Sequence[R], values: Values) -> Sequence[R]:
        """Write the values into these locked rows and return the rows with the new values."""
        ...

    def deadline_of(self, order: R) -> datetime | None:
        """Return the announced deadline of this row as it was read, with a time zone, or None if it has none."""
        ...

    def deadline_values(self, until: datetime) -> Values:
        """Return the values that make this time the announced deadline of a row.

        Raises ConfigError if the deadline is computed and not stored, and InvalidDeadline if no row can store it.
        """
        ...

    def unpaid(self, orders: Sequence[R]) -> Collection[str]:
        """Return the keys of those among these locked rows that are unpaid now, by a new read."""
        ...

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return up to `limit` unpaid orders whose deadline passed `grace` ago, oldest first, after `after`."""
        ...

    def deadlines(self) -> Iterable[Deadline]:
        """Yield every unpaid order's deadline, streamed."""
        ...

    def unreadable(self, limit: int) -> Mapping[str, str]:
        """Return up to `limit` unpaid orders that cannot lapse because of what is stored: the reason by their key.

        `overdue` and `deadlines` leave these orders out. An order without a deadline is not among them.
        """
        ...
