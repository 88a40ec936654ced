"""What the engine calls: which orders are overdue, and the two steps in which orders lapse."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from lapse.engine.deadline import Deadline
from lapse.orders.gateway import Attempt, Ruling


class Outcome(StrEnum):
    """What became of one order."""

    LAPSED = "lapsed"
    """Cancelled now, by this call; its stock is back."""
    PAID = "paid"
    """The money was found at the gateway just now, and the order is paid."""
    NOT_UNPAID = "not unpaid"
    """Paid or cancelled before; nothing was done."""
    NOT_DUE = "not due"
    """Its stored deadline is in the future: it was extended. Nothing was done."""
    LOCKED = "locked"
    """Another transaction is at work on the order. Nothing was done; try again soon."""
    UNANSWERED = "unanswered"
    """The gateway could not say whether the order was paid. Its stock stays held; try again later."""
    UNKNOWN = "unknown"
    """There is no such order."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one order.

    Where the outcome is NOT_DUE, `due_at` is the stored deadline and `due_in` how far off that is by the clock that
    decides, the database's; both are None for an order that has no deadline.
    """

    outcome: Outcome
    due_at: datetime | None = None
    due_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """The end of step one: results of the orders that are finished, and attempts that must be closed first."""

    results: Mapping[str, Result]
    attempts: Sequence[Attempt] = field(default=())


class Orders(Protocol):
    """A shop's orders, as far as lapsing and the sweep need them. Each call is a read, or one or more transactions.

    `Transition` implements this over the rows of a framework. Every time is compared with the database's clock. Every
    call may be repeated, by several processes at once: effects come from conditional updates, so each order lapses
    once. Each may raise TryLater where the database does not answer.
    """

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return unpaid orders whose deadline passed `grace` ago or earlier: oldest first, at most `limit`.

        With `after`, only those that come after that one in this order: so a sweep pages past what will not lapse.
        """
        ...

    def deadlines(self) -> Iterable[Deadline]:
        """Yield every unpaid order's deadline, streamed: to arm a timer that may have lost deadlines."""
        ...

    def begin(self, keys: Sequence[str]) -> Begun:
        """Step one: lapse at once the due, unpaid orders that have no open attempt to pay.

        Those with an open attempt are marked as closing and their attempts returned. Rows that another transaction
        has locked are skipped, not waited for. Every key has a result or an attempt.
        """
        ...

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        """Step three: lapse, settle or keep each order by the gateways' rulings; return what became of each."""
        ...
