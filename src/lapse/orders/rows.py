"""What a framework supplies: the orders' rows, locked, read and changed. It decides nothing."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from lapse.engine.deadline import Deadline
from lapse.orders.port import Result
from lapse.orders.shop import R, Values


class Which(StrEnum):
    """Which of the named rows are locked."""

    DUE = "due"
    """Those that are unpaid and whose deadline has passed, by the database's clock."""
    UNPAID = "unpaid"
    """Those that are unpaid, whether due or not."""
    ALL = "all"
    """All that exist."""


class Rows(Protocol[R]):
    """The orders' table. `lock`, `ask` and `change` run in a transaction of `transaction()`; `ask` also outside.

    A key is the text that names the order to the timer. A key that can name no order is left out, not an error.
    """

    def transaction(self) -> AbstractContextManager[object]:
        """Return a context that commits at its end, and rolls back where the block raises."""
        ...

    def key_of(self, order: R) -> str:
        """Return the key that names the order."""
        ...

    def value_of(self, order: R, field: str) -> object:
        """Return the value of the field as the row has it."""
        ...

    def lock(self, keys: Collection[str], which: Which, *, wait: bool) -> Sequence[R]:
        """Lock these rows until the transaction ends and return them as they are then, in one fixed order.

        A row that another transaction has locked is waited for with `wait`, and skipped without it. The condition of
        `which` holds for the locked row, not only for what the row was before the lock.
        """
        ...

    def ask(self, keys: Collection[str]) -> Mapping[str, Result]:
        """Return the state of every key, by one read without locks.

        The outcome is NOT_UNPAID, UNKNOWN, NOT_DUE with `due_at` and `due_in`, or LOCKED for one that is unpaid and
        due.
        """
        ...

    def change(self, orders: Sequence[R], values: Values) -> Sequence[R]:
        """Write the values into these locked rows, as far as they are unpaid, and return them with the new values.

        Raises TryLater where a row is not unpaid any more, which only a database without row locks can cause.
        """
        ...

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return unpaid orders whose deadline passed `grace` ago, oldest first, those that come after `after`."""
        ...

    def deadlines(self) -> Iterable[Deadline]:
        """Yield every unpaid order's deadline, streamed."""
        ...
