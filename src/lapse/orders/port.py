"""The interface that the engine calls: reading overdue orders, and the two steps in which orders lapse."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from lapse.engine.deadline import Deadline
from lapse.orders.gateway import Attempt, Ruling


class Outcome(StrEnum):
    """The result for one order, as one word."""

    LAPSED = "lapsed"
    """Cancelled by this call; its stock is available again."""
    REMINDED = "reminded"
    """Of a reminder: the shop was reminded of the order's deadline by this call. The order is unpaid as before."""
    PAID = "paid"
    """During this call the gateway reported the payment; the order is paid."""
    NOT_UNPAID = "not unpaid"
    """Paid or cancelled before this call. Nothing was done."""
    NOT_DUE = "not due"
    """The stored deadline is in the future, because it was extended. Nothing was done."""
    POSTPONED = "postponed"
    """The shop's `postpone` keeps the order. Nothing was done."""
    LOCKED = "locked"
    """Another transaction has locked the order. Nothing was done; try again soon."""
    UNANSWERED = "unanswered"
    """No gateway has said yet whether the order was paid. The order keeps its stock. A call may still be under way, and
    this process finishes the order when the answer comes; otherwise try again later."""
    UNKNOWN = "unknown"
    """No order has this key."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one order.

    If the outcome is NOT_DUE, `due_at` is the stored deadline; if it is POSTPONED, the time that the shop named.
    `due_in` is the time left until then by the database's clock. Both are None if there is no such time. If the outcome
    is UNANSWERED, `due_in` is the time after which another try may have an answer, or None.
    """

    outcome: Outcome
    due_at: datetime | None = None
    due_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """What step one returns: the results of finished orders, and the attempts to close for the other orders."""

    results: Mapping[str, Result]
    attempts: Sequence[Attempt] = field(default=())


class Orders(Protocol):
    """A shop's orders, with the methods that lapsing and the sweep need. Each method reads, or runs transactions.

    `Transition` implements this for a framework's rows. All times are compared with the database's clock. Several
    processes may call and repeat every method at once: each order lapses once, because its row is locked before it is
    asked. Every method may raise TryLater if the database does not answer.
    """

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return up to `limit` unpaid orders whose deadline passed at least `grace` ago, oldest first.

        With `after`, return only orders that come after that deadline. So a sweep can page past orders that do not
        lapse.
        """
        ...

    def deadlines(self) -> Iterable[Deadline]:
        """Yield every unpaid order's deadline, streamed. It is used to arm a timer that may have lost deadlines."""
        ...

    def unreadable(self, limit: int) -> Mapping[str, str]:
        """Return up to `limit` unpaid orders that cannot lapse because of what is stored: the reason by their key.

        For example, a deadline that is no time. The sweep reports these orders; it cannot lapse them.
        """
        ...

    def begin(self, keys: Sequence[str]) -> Begun:
        """Step one: lapse at once the due, unpaid orders that have no open attempt to pay.

        Orders with an open attempt are marked as closing, and their attempts are returned. Rows that another
        transaction has locked are skipped without waiting. Every key has a result or an attempt.
        """
        ...

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        """Step three: lapse, pay or keep each order by the gateways' rulings. Return the result of each order."""
        ...
