"""The queries that lock, read and change the orders' rows. The database's clock decides which orders are due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.core.exceptions import ValidationError
from django.db import connections, router, transaction
from django.db.models import BooleanField, Case, DateTimeField, ExpressionWrapper, Model, Q, QuerySet, Value, When
from django.db.models.functions import Now

from lapse.engine.deadline import Deadline, check_key
from lapse.engine.errors import InvalidDeadline, TryLater
from lapse.orders.port import Outcome, Result
from lapse.orders.rows import Which

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

M = TypeVar("M", bound=Model)

STREAM_ROWS = 2000
"""How many rows a long read fetches from the database at a time."""


class Queries(Generic[M]):
    """The orders' table. It implements `lapse.orders.Rows`.

    `unpaid` is the condition for unpaid orders. `deadline` and `key` are field names. A key is `str()` of its field's
    value.
    """

    def __init__(self, model: type[M], *, unpaid: Q, deadline: str, key: str) -> None:
        self._model = model
        self._unpaid = unpaid
        self._deadline = deadline
        self._key = key
        field = model._meta.pk if key == "pk" else model._meta.get_field(key)  # noqa: SLF001 - Django's public API
        self._key_field: Any = field

    @property
    def using(self) -> str:
        """The alias of the database that the orders are written to."""
        return router.db_for_write(self._model)

    def transaction(self) -> AbstractContextManager[object]:
        """Return a transaction in the orders' database. Inside another transaction it is a savepoint."""
        return transaction.atomic(using=self.using)

    def key_of(self, order: Model) -> str:
        """Return the order's key in the timer."""
        return str(getattr(order, self._key_field.attname))

    def value_of(self, order: Model, field: str) -> object:
        """Return the instance's value of the field; for a foreign key, the other row's key."""
        column: Any = self._model._meta.get_field(field)  # noqa: SLF001 - Django's public API
        return getattr(order, column.attname)

    def has(self, order: Model, values: Mapping[str, Any]) -> bool:
        """Return whether the instance has these values. Expressions are not compared: each would be new each time."""
        plain = {name: value for name, value in values.items() if not hasattr(value, "resolve_expression")}
        return bool(plain) and all(self.value_of(order, name) == self._stored(name, plain[name]) for name in plain)

    def due_at(self, order: Model) -> object:
        """Return the instance's deadline. It may be None, or an expression that was just saved."""
        return getattr(order, self._deadline)

    def values_of(self, keys: Iterable[str]) -> list[Any]:
        """Return the key field's value for each key. A key that no order can have is left out."""
        found = []
        for key in dict.fromkeys(keys):
            try:
                value = self._key_field.to_python(check_key(key))
                self._key_field.run_validators(value)  # for example a number too large for its column
            except (ValidationError, InvalidDeadline):
                continue
            if str(value) == key:
                found.append(value)
        return found

    def lock(self, keys: Collection[str], which: Which, *, wait: bool) -> list[M]:
        """Lock and return these rows, by primary key. With `wait`, wait for locked rows; without it, skip them.

        The condition is part of the locking statement, so the database checks it on the locked row.
        """
        if not connections[self.using].features.has_select_for_update:
            self._lock_database()
        rows = self._named(self._locking(wait=wait), keys).order_by("pk")
        if which is not Which.ALL:
            rows = rows.filter(self._unpaid)
        if which is Which.DUE:
            rows = rows.filter(**{f"{self._deadline}__lte": Now()})
        return list(rows)

    def change(self, orders: Sequence[M], values: Mapping[str, Any]) -> list[M]:
        """Write the values into these unpaid rows. Return the rows with their new values.

        Raises TryLater if a row is no longer unpaid, which only a database without row locks can cause.
        """
        keys = [order.pk for order in orders]
        changed = self._table().filter(self._unpaid, pk__in=keys).update(**values)
        if changed != len(keys):
            raise TryLater(f"{len(keys) - changed} of {len(keys)} orders were changed meanwhile")
        if any(hasattr(value, "resolve_expression") for value in values.values()):
            by_pk = self._table().in_bulk(keys)
            return [by_pk[key] for key in keys]
        for order in orders:
            for name, value in values.items():
                setattr(order, name, value)
        return list(orders)

    def ask(self, keys: Collection[str]) -> dict[str, Result]:
        """Return the state of every key, by one query. An order that is unpaid and due has the outcome LOCKED."""
        is_unpaid = Case(When(self._unpaid, then=Value(value=True)), default=False, output_field=BooleanField())
        rows = self._named(self._table(), keys).values_list(self._key_field.attname, self._deadline, is_unpaid, Now())
        found = {str(key): _state(due_at, now, unpaid=unpaid) for key, due_at, unpaid, now in rows}
        return {key: found.get(key, Result(Outcome.UNKNOWN)) for key in keys}

    def overdue(
        self, limit: int, *, where: Q | None = None, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> list[Deadline]:
        """Return unpaid orders that match `where`, whose deadline passed `grace` ago, oldest first, after `after`."""
        then = ExpressionWrapper(Now() - Value(grace), DateTimeField()) if grace else Now()
        rows = self._table().filter(self._unpaid, where or Q(), **{f"{self._deadline}__lte": then})
        if after is not None:
            key = self._key_field.to_python(after.key)
            beyond = Q(**{f"{self._deadline}__gt": after.due_at}) | Q(**{f"{self._key}__gt": key})
            # `beyond` implies the last condition. It is added because an index range can begin with it.
            rows = rows.filter(beyond, **{f"{self._deadline}__gte": after.due_at})
        found = rows.order_by(self._deadline, self._key).values_list(self._key_field.attname, self._deadline)
        return [Deadline(str(key), due_at) for key, due_at in found[:limit]]

    def deadlines(self, where: Q | None = None) -> Iterator[Deadline]:
        """Yield the deadlines of the unpaid orders; with `where`, of all orders that match it, unpaid or not."""
        rows = self._table().filter(self._unpaid if where is None else where, **{f"{self._deadline}__isnull": False})
        found = rows.values_list(self._key_field.attname, self._deadline)
        for key, due_at in found.iterator(chunk_size=STREAM_ROWS):
            yield Deadline(str(key), due_at)

    def _stored(self, name: str, value: Any) -> object:  # noqa: ANN401 - what a shop may assign to a field
        """Return what the column has for this value: of an instance, the key that a foreign key refers to."""
        field: Any = self._model._meta.get_field(name)  # noqa: SLF001 - Django's public API
        return value.prepare_database_save(field) if isinstance(value, Model) else value

    def _lock_database(self) -> None:
        """Take the write lock of a database without row locks, SQLite; wait for it as long as its `timeout` says.

        A transaction that has read first cannot wait: SQLite fails its write at once if another one has written.
        """
        meta = self._model._meta  # noqa: SLF001 - Django's public API
        quoted = connections[self.using].ops.quote_name
        pk: Any = meta.pk
        table, column = quoted(meta.db_table), quoted(pk.column)
        with connections[self.using].cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {column} = {column} WHERE 1 = 0")  # noqa: S608 - names of the model

    def _table(self) -> QuerySet[M]:
        # The base manager: an order that the default manager hides from shoppers must lapse too.
        return self._model._base_manager.using(self.using)  # noqa: SLF001 - Django's public API

    def _locking(self, *, wait: bool) -> QuerySet[M]:
        features = connections[self.using].features
        # Rows that the condition joins are not locked. A parent table's row is part of the order, so it is locked.
        joins_only = features.has_select_for_update_of and not self._model._meta.parents  # noqa: SLF001 - public API
        return self._table().select_for_update(
            skip_locked=features.has_select_for_update_skip_locked and not wait, of=("self",) if joins_only else ()
        )

    def _named(self, rows: QuerySet[M], keys: Collection[str]) -> QuerySet[M]:
        return rows.filter(**{f"{self._key}__in": self.values_of(keys)})


def _state(due_at: datetime | None, now: datetime, *, unpaid: bool) -> Result:
    if not unpaid:
        return Result(Outcome.NOT_UNPAID)
    if due_at is None:
        return Result(Outcome.NOT_DUE)
    if due_at > now:
        return Result(Outcome.NOT_DUE, due_at, due_at - now)
    return Result(Outcome.LOCKED)
