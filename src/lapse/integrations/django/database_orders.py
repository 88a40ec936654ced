"""The orders as the engine calls them: the transition on Django's queries, and the handling of connections."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Generic, TypeVar

from django.db import OperationalError

from lapse.engine.deadline import Deadline
from lapse.integrations.django.rows.db_errors import close_outlived_connection, is_busy, unavailable_is_try_later
from lapse.integrations.django.rows.queries import M, Queries
from lapse.orders.cause import BY_TIMER, Cause
from lapse.orders.closing import Closing
from lapse.orders.gateway import Ruling, Verdict
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Begun, Orders, Result
from lapse.orders.shop import Shop
from lapse.orders.transition import Transition

T = TypeVar("T")


class DatabaseOrders(Generic[M]):
    """A shop's orders in the database that `queries` read. It implements `lapse.orders.Orders`.

    Raises TryLater if the database does not answer. On SQLite another connection may have locked all rows: then nothing
    is changed and the orders are LOCKED, but a person's cancel raises TryLater.

    `closing` closes attempts at the shop's gateways; all orders of one process share it.

    With `background`, a connection that has outlived CONN_MAX_AGE is replaced. In a request Django does that, but in a
    worker it does not.
    """

    def __init__(
        self,
        shop: Shop[M],
        queries: Queries[M],
        cause: Cause = BY_TIMER,
        *,
        closing: Closing,
        disarm: Callable[[Sequence[str]], None] | None = None,
        background: bool = False,
    ) -> None:
        self._queries = queries
        self._shop = shop
        self._closing = closing
        self._transition: Orders = Transition(shop, queries, cause, disarm=disarm)
        self._cause = cause
        self._background = background

    def lapsing(self) -> Lapsing:
        """Return a `Lapsing` for these orders and the shop's gateways."""
        return Lapsing(
            self,
            self._shop.gateways,
            closing=self._closing,
            scope=self._shop.name,
            cause=self._cause,
            insist=self._cause.person and not self._cause.resumes,
        )

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """Return up to `limit` unpaid orders whose deadline passed `grace` ago, oldest first, after `after`."""
        with self._connection():
            return self._transition.overdue(limit, grace=grace, after=after)

    def deadlines(self) -> Iterator[Deadline]:
        """Yield every unpaid order's deadline, streamed."""
        with self._connection():
            yield from self._transition.deadlines()

    def unreadable(self, limit: int) -> Mapping[str, str]:
        """Return up to `limit` unpaid orders that cannot lapse because of what is stored: the reason by their key."""
        with self._connection():
            return self._transition.unreadable(limit)

    def begin(self, keys: Sequence[str]) -> Begun:
        """Lapse the orders without an open attempt; mark the others as closing and return their attempts."""
        with self._connection():
            return self._unless_busy(
                lambda: self._transition.begin(keys),
                otherwise=lambda: Begun(self._queries.ask(keys)),
                waits=self._cause.person,
            )

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        """Lapse, pay or keep each order by the gateways' rulings. Return the result of each order.

        Raises TryLater as well if SQLite is locked and a ruling is PAID: such a ruling is never dropped in silence.
        """
        keys = {ruling.attempt.order_key for ruling in rulings}
        paid = any(ruling.verdict is Verdict.PAID for ruling in rulings)
        with self._connection():
            return self._unless_busy(
                lambda: self._transition.finish(rulings),
                otherwise=lambda: self._queries.ask(list(keys)),
                waits=self._cause.person or paid,
            )

    def _unless_busy(self, step: Callable[[], T], *, otherwise: Callable[[], T], waits: bool) -> T:
        """Return the result of the step; if SQLite is locked and the call does not wait, the orders' state instead."""
        try:
            return step()
        except OperationalError as error:
            if waits or not is_busy(error):
                raise
            return otherwise()

    @contextmanager
    def _connection(self) -> Iterator[None]:
        if self._background:
            close_outlived_connection(self._queries.using)
        with unavailable_is_try_later(self._queries.using):
            yield
