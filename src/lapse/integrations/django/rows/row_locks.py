"""Locks the orders' rows by key, and the rows of other tables that decide whether an order is unpaid."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Q, QuerySet, Value
from django.db.models.lookups import Exact

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django.db.models import Model


SELF = "self"
"""In `writers_lock`: the order's own row."""


class RowLocks:
    """Locks rows until the transaction ends: each table in a statement of its own, sorted by primary key.

    No join, no condition and no manager of the shop is part of a locking statement. A statement that waits for a lock
    may decide by what the other tables had before. `related` are paths of relations from the order, as
    ("invoice", "invoice__payments").
    """

    def __init__(self, model: type[Model], key_field: str, related: Sequence[str] = ()) -> None:
        self._model = model
        self._key_field = key_field
        self._related = related

    def lock(self, keys: Collection[object], using: str, *, wait: bool) -> list[Any]:
        """Lock the orders with these values of the key field; return their primary keys, sorted as they were locked.

        With `wait`, wait for rows that another transaction has locked; without it, leave out their orders.
        """
        if not connections[using].features.has_select_for_update:
            self._lock_database(using)
        rows = one_of(self._key_field, keys)
        if self._model._meta.parents:  # noqa: SLF001 - Django's public API
            own = _plain(self._model, using)
            rows = one_of("pk", list(own.filter(rows).values_list("pk", flat=True)))  # keys never change
        locked = _lock(self._model, rows, using, wait=wait)
        for path in self._related:
            locked = self._lock_related(locked, path, using, wait=wait)
        return locked

    def _lock_related(self, orders: list[Any], path: str, using: str, *, wait: bool) -> list[Any]:
        """Lock the rows at the end of the path and on the way; return the orders whose rows are all locked."""
        model: Any = self._model
        reached: dict[Any, set[Any]] = {order: {order} for order in orders}  # order → primary keys in `model`
        for name in path.split("__"):
            relation: Any = model._meta.get_field(name)  # noqa: SLF001 - Django's public API
            sources = set().union(*reached.values())
            target, pairs = _targets(model, relation, sources, using)
            sought = {found for _, found in pairs}
            locked = set(_lock(target, one_of("pk", sought), using, wait=wait))
            busy: set[Any] = set()
            if not wait:  # with `wait`, a row that was not locked was deleted meanwhile
                busy = set(_plain(target, using).filter(pk__in=sought - locked).values_list("pk", flat=True))
            targets: dict[Any, set[Any]] = defaultdict(set)
            for source, found in pairs:
                targets[source].add(found)
            reached = {
                order: set().union(*(targets[source] & locked for source in of_order))
                for order, of_order in reached.items()
                if not any(targets[source] & busy for source in of_order)
            }
            model = target
        return [order for order in orders if order in reached]

    def _lock_database(self, using: str) -> None:
        """Take the write lock of a database without row locks, SQLite; wait for it as long as its `timeout` says.

        A transaction that has read first cannot wait: SQLite fails its write at once if another one has written.
        """
        quoted = connections[using].ops.quote_name
        own: Any = self._model._meta.concrete_model._meta  # type: ignore[union-attr] # noqa: SLF001 - Django's public API
        table, column = quoted(own.db_table), quoted(own.local_concrete_fields[0].column)
        with connections[using].cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {column} = {column} WHERE 1 = 0")  # noqa: S608 - names of the model


def in_callers_transaction(using: str) -> bool:
    """Return whether the open transaction began before Lapse was called. Inside an `atomic` of Lapse only."""
    return bool(connections[using].savepoint_ids)


def newest(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the query so that it reads what others have committed, for rows that this transaction has locked.

    Under REPEATABLE READ, MySQL and MariaDB read what was committed when the caller's transaction first read. Only a
    locking read sees more. Lapse's own transactions are READ COMMITTED.
    """
    if connections[rows.db].vendor == "mysql" and in_callers_transaction(rows.db):
        return rows.select_for_update()
    return rows


def one_of(field: str, values: Collection[object]) -> Q:
    """Return the condition for rows whose field has one of these values.

    Without values, it is a condition that no row meets, but that Django sends: for `pk__in=[]` it sends nothing. So a
    call without keys sends every statement, and the database has to accept each before the first order.
    """
    return Q(**{f"{field}__in": values}) if values else Q(Exact(Value(1), Value(0)))


def _plain(model: type[Model], using: str) -> QuerySet[Any]:
    """Return the table's rows without any manager of the shop, which may join, annotate or hide rows."""
    return QuerySet(model, using=using)


def _lock(model: type[Model], rows: Q, using: str, *, wait: bool) -> list[Any]:
    """Lock these rows and those of the parent tables, the parents first, as a save does. Return the primary keys."""
    meta = model._meta  # noqa: SLF001 - Django's public API
    skip = connections[using].features.has_select_for_update_skip_locked and not wait
    for parent, link in meta.parents.items():
        if link is None:  # a proxy has no table of its own
            return _lock(parent, rows, using, wait=wait)
        pairs = list(_plain(model, using).filter(rows).values_list("pk", link.attname))
        locked = set(_lock(parent, one_of("pk", {of_parent for _, of_parent in pairs}), using, wait=wait))
        rows = one_of("pk", [own for own, of_parent in pairs if of_parent in locked])
    query = _plain(model, using).filter(rows).order_by("pk").select_for_update(skip_locked=skip)
    return list(query.values_list("pk", flat=True))


def _targets(
    model: type[Model],
    relation: Any,  # noqa: ANN401 - Django's relations have no common type with these attributes
    sources: set[Any],
    using: str,
) -> tuple[type[Model], list[tuple[Any, Any]]]:
    """Return the model that the relation leads to, and pairs of primary keys: of a source, and of a row it leads to."""
    rows = _plain(model, using).filter(one_of("pk", sources), **{f"{relation.name}__isnull": False})
    pairs = newest(rows).values_list("pk", f"{relation.name}__pk")
    return relation.related_model, [(source, found) for source, found in pairs if found is not None]
