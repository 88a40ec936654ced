"""The base class for a shop's unpaid orders, with the attributes to declare and the methods to call."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.db.models import Q, QuerySet

from lapse.engine.backoff import Backoff
from lapse.engine.deadline import Deadline
from lapse.integrations.django.arguments import checked_keys, checked_orders
from lapse.integrations.django.arming import Arming
from lapse.integrations.django.database_orders import DatabaseOrders
from lapse.integrations.django.gateway_work import GatewayWork
from lapse.integrations.django.more_time import MoreTime
from lapse.integrations.django.payments import Payments
from lapse.integrations.django.reminders import Reminders
from lapse.integrations.django.rows.condition import reads_of
from lapse.integrations.django.rows.db_errors import unavailable_is_try_later
from lapse.integrations.django.rows.lapse_time import LapseTime
from lapse.integrations.django.rows.orders_read import checked_queryset, orders_read
from lapse.integrations.django.rows.queries import M, Queries
from lapse.integrations.django.rows.row_locks import SELF
from lapse.integrations.django.rows.since_deadline import SinceDeadline
from lapse.integrations.django.rows.stored_deadline import StoredDeadline
from lapse.integrations.django.rows.transactions import refuse_old_snapshot, refuse_transaction
from lapse.integrations.django.rows.windows import Windows
from lapse.integrations.django.timer_setting import timer_is_transactional, timer_named
from lapse.orders.cause import ON_READ, Cause
from lapse.orders.cooldown import Cooldown
from lapse.orders.hold import hold
from lapse.orders.on_read import lapse_on_read
from lapse.orders.service_options import BATCH
from lapse.orders.since import Since

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from contextlib import AbstractContextManager

    from lapse.orders.closing import Closing
    from lapse.orders.port import Result

READ_WAIT = timedelta(seconds=1)
"""How long a read or a sale waits for gateways, in all. A gateway usually answers within half a second, and a buyer
notices a page that takes much longer than a second. An order that is not answered by then is finished in the
background."""


Row = TypeVar("Row")
"""What a queryset returns: orders, or values of orders."""


class UnpaidOrders(MoreTime[M], Reminders[M], Payments[M]):
    """A shop's unpaid orders. Subclass it, name the class in LAPSE_ORDERS, and run `manage.py lapse_worker`.

    * `model`, `unpaid` and `deadline`: the order model, the condition that says an order is unpaid, and the name of
      its deadline field, a DateTimeField with an index. Without such a field: `Since("placed_at", minutes=30)`.
    * `grace`: how long after its deadline an unpaid order lapses. See `lapse.orders.Shop`.
    * `remind`, `reminded`: reminders before the deadline. See `lapse.orders.Shop`. Not with `Since`.
    * `key`: the unique field whose `str()` is the order's key in the timer and in `lapse()`.
    * `lapsed`, `closing`, `reason_field`, `gateways`, `name` and the hooks: see `lapse.orders.Shop`. Values may be
      expressions. A row with the values of `lapsed` must not match `unpaid`; a row with the values of `closing` must.
    * `lock`: the relations that `unpaid` crosses, as ("invoice",). Their rows are locked together with the order, so
      that no payment changes them while the order lapses.
    * `writers_lock`: needed if `unpaid` is true because a row is absent, as in Q(payments__isnull=True): no lock can
      keep a row from being added. It names a row that every transaction locks before it adds, changes or deletes such
      a row: "self" for the order's own row, or a relation that leads to another row.
    """

    model: ClassVar[type[Any]]
    unpaid: ClassVar[Q]
    deadline: ClassVar[str | Since]
    key: ClassVar[str] = "pk"
    lock: ClassVar[Sequence[str]] = ()
    writers_lock: ClassVar[str | None] = None

    def arm(self, *orders: M) -> None:
        """Arm the timer for when these orders lapse, with the open transaction or at once. Never fails a sale.

        A timer in the orders' database is armed in their transaction, and rolled back with it. Any other timer is armed
        after the commit. Call this after placing an order and after changing its deadline. Raises InvalidDeadline for a
        naive time.
        """
        deadlines = self._queries.deadlines_of(self._checked(orders, "arm(*orders)"))
        if deadlines:
            self._arming.arm(self.name, deadlines, self._queries.using)
            self._arm_reminders(deadlines)

    def deadline_of(self, order: M) -> datetime | None:
        """Return when the order's time to pay ends, with a time zone, or None if it has no deadline. For pages.

        With `Since`, a page that adds its own window would be wrong for orders that were placed under another one. A
        time of `postpone` is not part of it.
        """
        lapses_at = self._lapses_at(order, "deadline_of(order)")
        return None if lapses_at is None else lapses_at - self.grace

    def lapses_at(self, order: M) -> datetime | None:
        """Return when the order lapses if it is still unpaid: `grace` after `deadline_of`. None: it has no deadline.

        Between the two times the buyer can begin no new payment, and a payment under way still counts.
        """
        return self._lapses_at(order, "lapses_at(order)")

    def _lapses_at(self, order: M, call: str) -> datetime | None:
        found = self._queries.deadlines_of(self._checked([order], call))
        return found[0].due_at if found else None

    def disarm(self, *orders: M) -> None:
        """Disarm the timer for orders that are no longer unpaid. Works like `arm`. Never fails a sale."""
        keys = [self._queries.key_of(order) for order in self._checked(orders, "disarm(*orders)")]
        if keys:
            self._disarm(keys)

    def hold(self, order: M | str) -> AbstractContextManager[M]:
        """Lock an unpaid order, or the order with this key, in a transaction; return it as it is then. To pay it.

            with unpaid_orders().hold(order) as order:
                order.status = "paid"
                order.save()

        Waits for other transactions that have locked the order. An order that is closing or overdue can still be paid.
        The timer is disarmed with the commit. The transaction is rolled back if the block raises. Inside a transaction
        of the caller it is a savepoint, and the lock lasts until the end of the caller's transaction.

        Raises NotUnpaid if the order was paid or cancelled before, TypeError for another object, and OpenTransaction as
        `lapse` does for `writers_lock`.
        """
        key = order if isinstance(order, str) else self._queries.key_of(self._checked([order], "hold(order)")[0])
        return hold(self._queries, key, disarm=self._disarm)

    def lapse(self, keys: Collection[str], *, wait: timedelta | None = None) -> dict[str, Result]:
        """Lapse the orders that are unpaid and due. Return the result for every key.

        Waits for gateways for at most `wait` in all; None: for the budget of one call (5 s). An order whose gateway has
        not answered by then is UNANSWERED, and this process finishes it when the answer comes. Meanwhile, and for a
        while after an unclear answer, further calls do not wait for this order.

        Raises OpenTransaction inside a transaction if the shop has gateways; with `writers_lock`, inside a transaction
        that is stricter than READ COMMITTED. Raises TryLater if the database does not answer, and TypeError for a key
        that is not a string.
        """
        keys = checked_keys(keys)
        self._refuse_open_transaction()
        return self._gateway_work.lapse(self.port().lapsing(), keys, wait=wait)

    def cancel(self, orders: Iterable[M], *, by: str, reason: str) -> dict[str, Result]:
        """Cancel unpaid orders for a person, whether due or not. Return the result for every key.

        The steps and the hooks are those of `lapse`. The call waits for rows that another transaction has locked. The
        hooks get `by` as the actor. They get the first reason to cancel the order: `reason`, unless `reason_field`
        already has a reason. The timer is disarmed with the transaction that cancels.

        NOT_UNPAID: the order was paid or cancelled before, or while this call waited. UNANSWERED: the order's gateway
        has not answered within the budget of one call (5 s in all), so the order stays closing and keeps its stock.
        This process tries again until the order is cancelled or paid. If the process ends before that, call again, or
        let the timer lapse the order when it is due.

        The instances in `orders` are not refreshed. Raises TypeError for other objects than orders, ValueError if `by`
        or `reason` is empty, and the errors of `lapse`.
        """
        if not (by and reason):
            raise ValueError("cancel() needs `by` and `reason`: who cancels, and why")
        keys = [self._queries.key_of(order) for order in self._checked(orders, "cancel(orders, by=…, reason=…)")]
        self._refuse_open_transaction()
        cause = Cause(str(reason), str(by), person=True)
        first, again = (
            DatabaseOrders(
                self, self._queries, each, closing=self._closing, disarm=self._disarm, background=each.resumes
            ).lapsing()
            for each in (cause, replace(cause, resumes=True))
        )
        return self._gateway_work.cancel(first, keys, again=again)

    def lapse_overdue(self, where: Q | None = None, *, limit: int = BATCH) -> dict[str, Result]:
        """Lapse up to `limit` overdue orders that match `where`, oldest first. Return the result of each.

        A sale uses this to get the stock that overdue orders still hold, without waiting for a worker. It waits for
        gateways for about a second in all. If lapsing an order raises, the error is logged and the order is left out.
        Raises the errors of `lapse`.

        An order that `hold` holds is left alone. An order that the caller's own transaction has locked in another way
        is not: locks do not stop the transaction that has them. So call this before the order to be paid is read.
        """
        self._refuse_open_transaction()
        return lapse_on_read(
            self._lapse_briefly(),
            lambda count: self._overdue(count, where or Q()),
            batch=min(limit, BATCH),
            limit=limit,
            cooldown=self._cooldowns[self.name],
        )

    def fresh(self, queryset: QuerySet[M, Row]) -> QuerySet[M, Row]:
        """Lapse the overdue orders in the query. Return the query, not yet evaluated, so that it shows the new state.

        It takes any queryset of the orders: slices, `values()`, `annotate()`, unions, `using()` a replica. If no order
        is overdue, it costs one query; a slice costs one more on MySQL and MariaDB. It waits for gateways for about a
        second in all. An order stays unchanged if another transaction has locked it or its gateway does not answer. So
        check its deadline before you offer to pay.

        Raises TypeError for another object, such as a list or a raw query, and the errors of `lapse`.
        """
        checked_queryset(queryset, self.model)
        self._refuse_open_transaction()
        lapse_on_read(
            self._lapse_briefly(),
            lambda limit: self._overdue(limit, orders_read(queryset, self._queries.using)),
            batch=BATCH,
            cooldown=self._cooldowns[self.name],
        )
        return queryset.all()

    def count_unpaid(self) -> int:
        """Return how many orders are unpaid, due or not. It counts the rows, which takes time in a large table."""
        return self._queries.rows(self.unpaid).values("pk").distinct().count()

    def port(self, *, background: bool = False) -> DatabaseOrders[M]:
        """Return the `Orders` port for a worker and a sweep.

        With `background`, it replaces old database connections, for a process without requests.
        """
        return DatabaseOrders(self, self._queries, closing=self._closing, background=background)

    @property
    def _gateway_work(self) -> GatewayWork:
        """What calls the gateways; one per object, so that each gateway is called from one pool of threads."""
        found: GatewayWork | None = vars(self).get("_gateway_work_shared")
        return found or vars(self).setdefault("_gateway_work_shared", GatewayWork())  # two threads get the same

    @property
    def _closing(self) -> Closing:
        return self._gateway_work.closing

    @cached_property
    def _cooldowns(self) -> dict[str, Cooldown]:
        return defaultdict(lambda: Cooldown(Backoff(most=timedelta(minutes=1))))  # by the timer's name

    def _lapse_briefly(self) -> Callable[[Sequence[str]], dict[str, Result]]:
        """Return a `lapse` for one read or sale, which waits for gateways for READ_WAIT in all of its calls."""
        orders = DatabaseOrders(self, self._queries, ON_READ, closing=self._closing)
        return self._gateway_work.within(READ_WAIT, orders.lapsing)

    @cached_property
    def _arming(self) -> Arming:
        return Arming(timer_named, timer_is_transactional)

    @cached_property
    def _queries(self) -> Queries[M]:
        return self._queries_for(self.unpaid, LapseTime(self._deadline, lambda: self.grace))

    def _queries_for(self, unpaid: Q, deadline: LapseTime) -> Queries[M]:
        others = () if self.writers_lock in (None, SELF) else (self.writers_lock,)
        reads = reads_of(self.model, self.unpaid)
        return Queries(
            self.model,
            unpaid=unpaid,
            deadline=deadline,
            key=self.key,
            lock=(*self.lock, *others),
            reads_absence=self.writers_lock is not None,
            reads_others=reads.many or bool(reads.absent),  # also if the base manager joins other tables
        )

    @cached_property
    def _deadline(self) -> StoredDeadline | SinceDeadline:
        if isinstance(self.deadline, str):
            return StoredDeadline(self.deadline)
        windows = Windows(self.deadline, lambda: self.name, lambda: self._queries.using, grace=self.grace)
        return SinceDeadline(self.deadline.field, windows)

    def _checked(self, orders: Iterable[M], call: str) -> list[M]:
        """Return the orders. Raises TypeError, with the way to write the call, for another object."""
        return checked_orders(orders, self.model, call, self._queries.keys.column)

    def _disarm(self, keys: Sequence[str]) -> None:
        self._arming.disarm(self.name, keys, self._queries.using)
        self._disarm_reminders(keys)

    def _overdue(self, limit: int, where: Q) -> list[Deadline]:
        with unavailable_is_try_later(self._queries.using):
            return self._queries.overdue(limit, where=where)

    def _refuse_open_transaction(self) -> None:
        """Refuse an unsuitable transaction at every call, not only when an order is overdue or has an open attempt."""
        if self.gateways:
            refuse_transaction(self._queries.using)
        if self.writers_lock is not None:
            refuse_old_snapshot(self._queries.using)
