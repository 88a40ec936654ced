"""The queries that lock, read and change the orders' rows. The database's clock decides which orders are due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import connections, router
from django.db.models import Model, Q, QuerySet

from lapse.engine.deadline import Deadline
from lapse.integrations.django.rows.columns import column_of
from lapse.integrations.django.rows.database_clock import DatabaseNow, aware
from lapse.integrations.django.rows.deadline_reads import DeadlineReads
from lapse.integrations.django.rows.order_keys import OrderKeys
from lapse.integrations.django.rows.row_locks import RowLocks, newest, one_of
from lapse.integrations.django.rows.transactions import is_deadlock, read_committed
from lapse.orders.port import Outcome, Result
from lapse.orders.rows import Which

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from lapse.integrations.django.rows.lapse_time import LapseTime

M = TypeVar("M", bound=Model)


class Queries(Generic[M]):
    """The orders' table. It implements `lapse.orders.Rows`.

    `unpaid` is the condition for unpaid orders; with `reads_absence`, it is true because rows of other tables are
    absent. `key` is a field name; a key is `str()` of that field's value.
    """

    def __init__(
        self,
        model: type[M],
        *,
        unpaid: Q,
        deadline: LapseTime,
        key: str,
        lock: Sequence[str] = (),
        reads_others: bool = True,
        reads_absence: bool = False,
    ) -> None:
        self._model = model
        self._unpaid = unpaid
        self._deadline = deadline
        self.keys = OrderKeys(model, key)
        self._locks = RowLocks(model, key, lock)
        self._reads = DeadlineReads(self._table, unpaid, self._deadline, self.keys, repeats=reads_others)
        self._reads_absence = reads_absence

    @property
    def using(self) -> str:
        """The alias of the database that the orders are written to."""
        return router.db_for_write(self._model)

    def transaction(self) -> AbstractContextManager[object]:
        """Return a transaction in the orders' database. Inside another transaction it is a savepoint.

        Raises OpenTransaction inside a transaction that cannot see the absence of rows that `unpaid` depends on.
        """
        return read_committed(self.using, reads_absence=self._reads_absence)

    def may_repeat(self, error: Exception) -> bool:
        """Return whether the database ended the transaction to resolve a deadlock, so that it may run once more."""
        return is_deadlock(error) and not connections[self.using].in_atomic_block

    def key_of(self, order: Model) -> str:
        """Return the order's key in the timer."""
        return self.keys.of(order)

    def value_of(self, order: Model, field: str) -> object:
        """Return the instance's value of the field; for a foreign key, the other row's key."""
        return getattr(order, self._column(field).attname)

    def has(self, order: Model, values: Mapping[str, Any]) -> bool:
        """Return whether the instance has these values. Expressions are not compared: each would be new each time."""
        plain = {name: value for name, value in values.items() if not hasattr(value, "resolve_expression")}
        return bool(plain) and all(self.value_of(order, name) == self._stored(name, plain[name]) for name in plain)

    def deadlines_of(self, orders: Iterable[M]) -> list[Deadline]:
        """Return when the instances that have a deadline lapse. Raises InvalidDeadline for a naive time."""
        found, to_read = list[Deadline](), []
        for order in orders:
            due_at = self._deadline.of(order)
            if isinstance(due_at, datetime):
                found.append(Deadline(self.key_of(order), due_at))
            elif due_at is not None:  # it was saved as an expression, and only the database knows its value
                to_read.append(order.pk)
        return [*found, *(self.deadlines(Q(pk__in=to_read)) if to_read else ())]

    def lock(self, keys: Collection[str], which: Which, *, wait: bool) -> list[M]:
        """Lock and return these rows, sorted by primary key. With `wait`, wait for locked rows; without it, skip them.

        The rows are locked by key alone. Then a second statement asks which of them match, so that it sees what was
        committed while the first one waited.
        """
        locked = self._locks.lock(self.keys.values_of(keys, self.using), self.using, wait=wait)
        if keys and not locked:
            return []
        rows = self._table().filter(one_of("pk", locked))
        if which is not Which.ALL:
            rows = rows.filter(self._unpaid)
        if which is Which.DUE:
            rows = rows.filter(self._deadline.passed())
        orders = _distinct(newest(rows.order_by("pk")))
        # SQLite compares any text with the time. Django reads such a text as None.
        return [order for order in orders if which is not Which.DUE or self._deadline.of(order) is not None]

    def change(self, orders: Sequence[M], values: Mapping[str, Any]) -> list[M]:
        """Write the values into these locked rows by one update, which calls no `save()` and sends no signals.

        Return the rows with their new values. What only the database knows is read again: expressions, and fields that
        the database generates.
        """
        rows: QuerySet[M] = QuerySet(self._model, using=self.using)
        rows = rows.filter(one_of("pk", [order.pk for order in orders]))
        rows.update(**values)
        unknown = []
        for name, value in values.items():
            column = self._column(name)
            if hasattr(value, "resolve_expression"):
                unknown.append(column.attname)
                continue
            stored = self._stored(name, value)
            for order in orders:
                # Not by assignment: a state machine's field refuses that, and a foreign key refuses a plain key.
                order.__dict__[column.attname] = column.to_python(stored)
                order._state.fields_cache.pop(column.name, None)  # noqa: SLF001 - a row that the old key referred to
        unknown += [field.attname for field in self._model._meta.concrete_fields if field.generated]  # noqa: SLF001 - public API
        if unknown:
            known = {row["pk"]: row for row in rows.values("pk", *unknown)}
            for order in orders:
                order.__dict__.update({name: known[order.pk][name] for name in unknown})
        return list(orders)

    def deadline_of(self, order: M) -> datetime | None:
        """Return the announced deadline of a row that was read, with a time zone, or None if it has none."""
        announced = self._deadline.announced_of(order)
        return announced if isinstance(announced, datetime) else None

    def deadline_values(self, until: datetime) -> Mapping[str, datetime]:
        """Return what to write for this announced deadline. Raises ConfigError for `Since`, and InvalidDeadline."""
        return self._deadline.values(until)

    def unpaid(self, orders: Sequence[M]) -> set[str]:
        """Return the keys of those among these locked rows that match the condition now."""
        rows = self._table().filter(one_of("pk", [order.pk for order in orders])).filter(self._unpaid)
        return {str(key) for key in newest(rows).order_by().values_list(self.keys.column, flat=True)}

    def ask(self, keys: Collection[str]) -> dict[str, Result]:
        """Return the state of every key. An order that is unpaid and due has the outcome LOCKED."""
        # Two queries: inside of CASE WHEN, a condition on rows of other tables would mean something else.
        named = self._named(self._table(), keys).order_by()
        unpaid = {str(key) for key in named.filter(self._unpaid).values_list(self.keys.column, flat=True)}
        readable = named.filter(self._deadline.readable())
        rows = readable.values_list(self.keys.column, DatabaseNow(), *self._reads.columns(self.using))
        found = {
            str(key): _state(self._deadline.due_at(*columns), aware(now), unpaid=str(key) in unpaid)
            for key, now, *columns in rows
        }
        if left := [key for key in keys if key not in found]:  # without a deadline, or unknown
            others = self._named(self._table(), left).order_by().values_list(self.keys.column, flat=True)
            for key in map(str, others):
                found[key] = Result(Outcome.NOT_DUE if key in unpaid else Outcome.NOT_UNPAID)
        return {key: found.get(key, Result(Outcome.UNKNOWN)) for key in keys}

    def now(self) -> datetime:
        """Return the database's time, in UTC. Raises IndexError for an empty table."""
        return aware(self._table().order_by().values_list(DatabaseNow(), flat=True)[0])

    def overdue(
        self, limit: int, *, where: Q | None = None, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> list[Deadline]:
        """Return unpaid orders that match `where`, whose deadline passed `grace` ago, oldest first, after `after`."""
        return self._reads.overdue(limit, where=where, grace=grace, after=after)

    def deadlines(self, where: Q | None = None) -> Iterator[Deadline]:
        """Yield the deadlines of the unpaid orders; with `where`, of all orders that match it, unpaid or not."""
        return self._reads.deadlines(where)

    def unreadable(self, limit: int) -> dict[str, str]:
        """Return up to `limit` unpaid orders that cannot lapse because of what is stored: the reason by their key."""
        return self._reads.unreadable(limit)

    def pks(self, keys: Collection[str]) -> set[Any]:
        """Return the primary keys of the rows with these keys."""
        return set(self._named(self._table(), keys).order_by().values_list("pk", flat=True))

    def rows(self, where: Q | None = None) -> QuerySet[M]:
        """Return the orders that match `where`, unpaid or not, also those that the default manager hides."""
        return self._table().filter(where or Q())

    @property
    def deadline(self) -> LapseTime:
        """When orders lapse, by what the rows store."""
        return self._deadline

    def _column(self, name: str) -> Any:  # noqa: ANN401 - Django's fields have no common type with these attributes
        """Return the field of that name, or of that column's name."""
        return column_of(self._model, name) or self._model._meta.get_field(name)  # noqa: SLF001 - Django's public API

    def _stored(self, name: str, value: Any) -> object:  # noqa: ANN401 - what a shop may assign to a field
        """Return what the column has for this value: of an instance, the key that a foreign key refers to."""
        return value.prepare_database_save(self._column(name)) if isinstance(value, Model) else value

    def _table(self) -> QuerySet[M]:
        # The base manager: an order that the default manager hides from shoppers must lapse too.
        return self._model._base_manager.using(self.using)  # noqa: SLF001 - Django's public API

    def _named(self, rows: QuerySet[M], keys: Collection[str]) -> QuerySet[M]:
        return rows.filter(one_of(self.keys.name, self.keys.values_of(keys, self.using)))


def _distinct(rows: QuerySet[M]) -> list[M]:
    """Return each row once: with two matching rows in another table, a join returns it twice."""
    return list({row.pk: row for row in rows}.values())


def _state(due_at: datetime | None, now: datetime, *, unpaid: bool) -> Result:
    if not unpaid:
        return Result(Outcome.NOT_UNPAID)
    if due_at is None:
        return Result(Outcome.NOT_DUE)
    if due_at > now:
        return Result(Outcome.NOT_DUE, due_at, due_at - now)
    return Result(Outcome.LOCKED)
