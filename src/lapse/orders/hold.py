"""Holding one unpaid order: the way to pay it, so that no payment and no lapse can overtake each other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from lapse.engine.errors import LapseError
from lapse.orders.port import Outcome
from lapse.orders.rows import Rows, Which
from lapse.orders.shop import R

T = TypeVar("T")

_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())
"""The keys of the orders that this thread or task holds, or is lapsing."""

_holds: ContextVar[int] = ContextVar("holds", default=0)
"""How often this thread or task has held an order."""


def holds_here() -> int:
    """Return how often this thread or task has held an order, to see whether a hook has held one."""
    return _holds.get()


def held_here() -> frozenset[str]:
    """Return the keys of the orders that this thread or task holds, or is lapsing. Another lapse leaves them alone."""
    return _held.get()


@contextmanager
def held(keys: Iterable[str]) -> Iterator[None]:
    """Leave these orders alone inside the block: the locks of the own transaction do not stop another lapse."""
    before = _held.get()
    _held.set(before.union(keys))
    try:
        yield
    finally:
        _held.set(before)


ATTEMPTS = 3
"""How often a transaction runs that the database ends to resolve a deadlock. Then the error is passed on."""


def in_transaction(rows: Rows[R], keys: Iterable[str], body: Callable[[], T]) -> T:
    """Run the body in a transaction and return its result; run it again if a deadlock ended the transaction.

    Inside the body, a lapse on read leaves the orders with these keys alone.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with rows.transaction(), held(keys):
                return body()
        except Exception as error:
            if attempt == ATTEMPTS or not rows.may_repeat(error):
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


class NotUnpaid(LapseError):
    """The order cannot be paid: it was paid or cancelled before, or does not exist. Nothing was changed.

    Money that has been taken for it must be given back, or the order placed again. `key` names the order; `outcome` is
    NOT_UNPAID or UNKNOWN.
    """

    def __init__(self, key: str, outcome: Outcome) -> None:
        reason = "no order has this key" if outcome is Outcome.UNKNOWN else "it was paid or cancelled before"
        super().__init__(f"order {key!r} is not unpaid: {reason}")
        self.key = key
        self.outcome = outcome


@contextmanager
def hold(rows: Rows[R], key: str, *, disarm: Callable[[Sequence[str]], None]) -> Iterator[R]:
    """Lock the order, yield it, and commit at the end of the block, which pays the order by the shop's own transition.

    Waits until no other transaction has locked the order. An order that is closing or overdue can be held as long as
    it is unpaid. At the end, an order that is no longer unpaid is disarmed with the transaction. If the block raises,
    its transaction is rolled back. Inside the block, the timer's lapse and a lapse on read leave the order alone.

    Raises NotUnpaid if the order cannot be paid.
    """
    with rows.transaction():
        locked = rows.lock([key], Which.UNPAID, wait=True)
        if not locked:
            outcome = rows.ask([key])[key].outcome
            raise NotUnpaid(key, outcome if outcome is Outcome.UNKNOWN else Outcome.NOT_UNPAID)
        (order,) = locked
        name = rows.key_of(order)
        _holds.set(_holds.get() + 1)
        with held([name]):
            yield order
        if name not in rows.unpaid([order]):
            disarm([name])
