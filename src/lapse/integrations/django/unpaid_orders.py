"""The base class with which a shop's own order model lapses."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from django.db import transaction
from django.db.models import Q, QuerySet

from lapse.engine.backoff import Backoff
from lapse.engine.deadline import Deadline
from lapse.engine.errors import LapseError
from lapse.integrations.django.arming import Arming
from lapse.integrations.django.db_errors import away_is_try_later
from lapse.integrations.django.queries import M, Rows
from lapse.integrations.django.thread_connections import tidy
from lapse.integrations.django.transition import begin, finish
from lapse.orders.cooldown import Patience
from lapse.orders.lapsing import Lapsing
from lapse.orders.on_read import lapse_met

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from lapse.engine.timer import Timer
    from lapse.orders.gateway import Attempt, Gateway, Ruling
    from lapse.orders.port import Begun, Result

BATCH = 500
"""How many orders one transaction lapses at the most, so that no lock is held for long."""

ASK_AGAIN = timedelta(seconds=5)
"""How long reads and sales leave an order alone whose gateway did not answer; longer each time, up to a minute."""

ARM_BATCH = 2000
"""How many deadlines are armed by one call when many are armed again."""


class OpenTransaction(LapseError):
    """Lapsing would have asked a payment gateway inside a transaction, which holds row locks meanwhile."""


class UnpaidOrders(Generic[M]):
    """A shop's unpaid orders. Subclass it, name the class in LAPSE_ORDERS, and run `manage.py lapse_worker`.

    * `model`, `unpaid` and `deadline`: the order model, the condition that says an order is unpaid, and the name of
      its deadline field, a DateTimeField with an index.
    * `lapsed`: what is written into a row that lapses; values may be expressions. It must no longer match `unpaid`.
    * `key`: the unique field whose `str()` names the order to the timer and in `lapse()`.
    * `name`: the timer's name.
    * `closing`: what is written into a row while its open attempts to pay are being closed, or None for nothing. It
      must still match `unpaid`, so that a crash in between is repeated, and the shop must take no new attempt then.
    * `gateways`: gateway by the name that stands in `Attempt.gateway`.
    """

    model: ClassVar[type[Any]]
    unpaid: ClassVar[Q]
    deadline: ClassVar[str]
    lapsed: ClassVar[Mapping[str, object]]
    key: ClassVar[str] = "pk"
    name: ClassVar[str] = "orders"
    closing: ClassVar[Mapping[str, object] | None] = None
    gateways: ClassVar[Mapping[str, Gateway]] = MappingProxyType({})

    # What the shop fills in.

    def on_lapse(self, orders: Sequence[M]) -> None:
        """Give back what the orders held. Called once for these rows, in their transaction, with the new values.

        If it raises, nothing has happened. Use set-based statements: there may be 500 of them.
        """
        raise NotImplementedError(f"{type(self).__name__} must say in on_lapse() what an order gives back")

    def open_attempts(self, orders: Sequence[M]) -> Sequence[Attempt]:
        """Return the attempts to pay that must be closed before these orders may lapse. The rows are locked."""
        del orders
        return ()

    def on_ruling(self, order: M, rulings: Sequence[Ruling]) -> bool:
        """Record what the gateways said of the order's attempts; return True if the order is paid by now.

        Called in the transaction that decides, with the row locked. Where a ruling says PAID, make the payment's own
        transition here, and look at the row first: it may have been paid or cancelled since the gateway was asked.
        An order with a ruling of PAID for which this returns False stays held.
        """
        del order, rulings
        return False

    # What the shop calls.

    def arm(self, *orders: M) -> None:
        """Tell the timer of these orders' deadlines with the transaction; at once outside of one. Never fails a sale.

        A timer in the orders' own database is told in their transaction, and takes back what is rolled back; any other
        is told after the commit. Call it after placing an order and after changing its deadline. Raises
        InvalidDeadline for a naive time.
        """
        deadlines = []
        to_read = []
        for order in orders:
            due_at = self._rows.due_at(order)
            if isinstance(due_at, datetime):
                deadlines.append(Deadline(self._rows.key_of(order), due_at))
            elif due_at is not None:
                to_read.append(order.pk)
        if to_read:  # the deadline was saved as an expression, and only the database knows its value
            deadlines += self._rows.deadlines(Q(pk__in=to_read))
        if deadlines:
            self._arming.arm(deadlines, self._rows.using)

    def disarm(self, *orders: M) -> None:
        """Tell the timer, as `arm` does, that these orders no longer wait. Never fails a sale."""
        keys = [self._rows.key_of(order) for order in orders]
        if keys:
            self._arming.disarm(keys, self._rows.using)

    def lapse(self, keys: Collection[str]) -> dict[str, Result]:
        """Lapse those of the orders that are unpaid and due; say of every key what became of it.

        Raises OpenTransaction inside a transaction if there are gateways to ask, TryLater where the database is away.
        """
        self._refuse_open_transaction()
        lapsing = Lapsing(self, tidy(self.gateways))
        results: dict[str, Result] = {}
        todo = iter(dict.fromkeys(keys))
        while some := list(islice(todo, BATCH)):
            results.update(lapsing.lapse(some))
        return results

    def lapse_overdue(self, where: Q | None = None, *, limit: int = BATCH) -> dict[str, Result]:
        """Lapse the overdue orders that match, oldest first, at most `limit`; say what became of each.

        So a sale takes the stock that overdue orders still hold, without waiting for a worker. An order whose lapse
        raises is logged and left out. Raises as `lapse` does.
        """
        self._refuse_open_transaction()
        return lapse_met(
            self.lapse,
            lambda count: self._overdue(count, where or Q()),
            batch=min(limit, BATCH),
            limit=limit,
            patience=self._patience,
        )

    def fresh(self, queryset: QuerySet[M]) -> QuerySet[M]:
        """Lapse the overdue orders that the query meets and return it, not yet evaluated, to see the new state.

        It costs one query where nothing is overdue. An order that another transaction is at work on, or whose
        gateway does not answer, is shown as it is: compare its deadline before offering to pay. Raises as `lapse`.
        """
        self._refuse_open_transaction()
        met = queryset if queryset.query.is_sliced else queryset.order_by()
        lapse_met(
            self.lapse,
            lambda limit: self._overdue(limit, Q(pk__in=met.values("pk"))),
            batch=BATCH,
            patience=self._patience,
        )
        return queryset.all()

    def rearm(self, timer: Timer, *, only_unknown: bool = True) -> Iterator[int]:
        """Arm every unpaid order again, batch by batch; yields how many were armed so far."""
        deadlines = iter(self.deadlines())
        count = 0
        while some := list(islice(deadlines, ARM_BATCH)):
            timer.arm(some, only_unknown=only_unknown)
            count += len(some)
            yield count

    # The port: what lapsing and the sweep call.

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """List unpaid orders whose deadline passed `grace` ago, oldest first, those after `after`."""
        with away_is_try_later(self._rows.using):
            return self._rows.overdue(limit, where=Q(), grace=grace, after=after)

    def deadlines(self) -> Iterator[Deadline]:
        """Stream every unpaid order's deadline."""
        with away_is_try_later(self._rows.using):
            yield from self._rows.deadlines()

    def begin(self, keys: Sequence[str]) -> Begun:
        """Lapse what has no open attempt; mark the others as closing and return their attempts."""
        with away_is_try_later(self._rows.using):
            return begin(self, self._rows, keys)

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        """Lapse, settle or keep each order by what the gateways said."""
        with away_is_try_later(self._rows.using):
            return finish(self, self._rows, rulings)

    @property
    def using(self) -> str:
        """The alias of the database that the orders are in."""
        return self._rows.using

    @cached_property
    def _patience(self) -> Patience:
        return Patience(Backoff(first=ASK_AGAIN, most=12 * ASK_AGAIN))

    @cached_property
    def _arming(self) -> Arming:
        from lapse.integrations.django.settings import timer, timer_is_transactional  # noqa: PLC0415 - it imports us

        return Arming(timer, timer_is_transactional)

    @cached_property
    def _rows(self) -> Rows[M]:
        return Rows(self.model, unpaid=self.unpaid, deadline=self.deadline, key=self.key)

    def _overdue(self, limit: int, where: Q) -> list[Deadline]:
        with away_is_try_later(self._rows.using):
            return self._rows.overdue(limit, where=where)

    def _refuse_open_transaction(self) -> None:
        """Refuse at the first call, not only on the day when an attempt happens to be open."""
        if not self.gateways:
            return
        try:
            with transaction.atomic(using=self.using, durable=True):
                pass
        except RuntimeError as error:
            raise OpenTransaction(
                "lapsing asks payment gateways, so it must not be called inside transaction.atomic() or with "
                "ATOMIC_REQUESTS: call it before the transaction, or mark the view non_atomic_requests"
            ) from error
