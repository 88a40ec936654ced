"""Reminders: a hook of the shop is called once per deadline, some time before an unpaid order's deadline."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Generic

from lapse.engine.deadline import Deadline
from lapse.orders.cause import EXPIRED, TIMER
from lapse.orders.gateway import Ruling
from lapse.orders.hold import held_here, in_transaction
from lapse.orders.port import Begun, Outcome, Result
from lapse.orders.rows import Rows, Which
from lapse.orders.shop import OrderBatch, R, Shop, Values


def reminders_of(name: str) -> str:
    """Return the name of the timer of the reminders, beside the timer of this name."""
    return f"{name}-reminders"


class Reminding(Generic[R]):
    """Reminds of orders on a framework's rows. It implements `Orders`, so a `Lapsing`, a sweep and a service run it.

    For these `rows`, an order is unpaid if it wants a reminder: it is unpaid and not closing, its deadline has not
    passed, and the shop was not reminded of this deadline before. It is due at its deadline less `Shop.remind`.

    `mark` writes the deadline into `Shop.reminded`, in the transaction of the hook. So the hook takes effect once per
    deadline: a transaction that is rolled back leaves no mark, and an extension is another deadline.
    """

    def __init__(self, shop: Shop[R], rows: Rows[R], mark: Values) -> None:
        self._shop = shop
        self._rows = rows
        self._mark = mark

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return up to `limit` orders whose reminder was due `grace` ago, oldest first, after `after`."""
        return self._rows.overdue(limit, grace=grace, after=after)

    def deadlines(self) -> Iterable[Deadline]:
        """Yield when each order that wants a reminder is due for it."""
        return self._rows.deadlines()

    def unreadable(self, limit: int) -> Mapping[str, str]:
        """Return nothing: the sweep that lapses orders reports the deadlines that it cannot read."""
        del limit
        return {}

    def begin(self, keys: Sequence[str]) -> Begun:
        """Remind of those of these orders that are due for it, and return the results. A row that is locked is LOCKED.

        An order that this thread holds to pay it is left alone. NOT_UNPAID: the order wants no reminder any more.
        """
        todo = [key for key in dict.fromkeys(keys) if key not in held_here()]
        reminded = in_transaction(self._rows, todo, partial(self._remind, todo)) if todo else []
        results = dict.fromkeys(reminded, Result(Outcome.REMINDED))
        if others := [key for key in dict.fromkeys(keys) if key not in results]:
            results.update(self._rows.ask(others))
        return Begun(results)

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        """Return nothing: no gateway is called for a reminder."""
        del rulings
        return {}

    def _remind(self, keys: Sequence[str]) -> list[str]:
        orders = self._rows.lock(keys, Which.DUE, wait=False)
        if not orders:
            return []
        marked = self._rows.change(orders, self._mark)
        self._shop.on_remind(OrderBatch(marked, reason=EXPIRED, actor=TIMER))
        return [self._rows.key_of(order) for order in marked]
