"""The condition for the orders that a queryset reads, also if it returns values, groups or unions of them."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Model, Q, QuerySet
from django.db.models.sql.where import WhereNode

if TYPE_CHECKING:
    from collections.abc import Iterator


def orders_read(queryset: QuerySet[Any], using: str) -> Q:
    """Return the condition for the orders that the queryset reads, to be asked of the database `using`.

    A row of the result may stand for several orders, as with `values().annotate()` and in a union. Then the condition
    may match more orders than the result shows. MySQL and MariaDB have no LIMIT in a subquery, so a slice costs a
    query there.
    """
    return reduce(or_, [Q(pk__in=_keys(query, using)) for query in _parts(queryset.query)])


def checked_queryset(queryset: object, model: type[Model]) -> None:
    """Raise TypeError unless the object is a queryset of the model, or a union of such querysets."""
    takes = f"fresh() takes a queryset of {model.__name__}, such as fresh({model.__name__}.objects.filter(…))"
    if not isinstance(queryset, QuerySet):
        raise TypeError(f"{takes}; got {type(queryset).__name__}")
    for query in _parts(queryset.query):
        if not issubclass(query.model, model._meta.concrete_model):  # type: ignore[arg-type] # noqa: SLF001 - Django's public API
            raise TypeError(f"{takes}; got a queryset of {query.model.__name__}")


def _parts(query: Any) -> Iterator[Any]:  # noqa: ANN401 - a query of Django, which the stubs do not describe
    """Yield the query, or the queries that a union, an intersection or a difference combines."""
    if not query.combinator:
        yield query
    for part in query.combined_queries:
        yield from _parts(part)


def _keys(query: Any, using: str) -> Any:  # noqa: ANN401 - a subquery, or a list of keys of any type
    """Return the primary keys of the rows that the query reads: as a subquery, or as a list."""
    query = query.chain()
    query.select_for_update = False
    if query.has_select_fields and (query.distinct or query.group_by):
        query.clear_limits()  # they count rows of the result
    if isinstance(query.group_by, tuple):
        where, _, _ = query.where.split_having_qualify(must_group_by=True)  # without the condition on the groups
        query.where = WhereNode() if where is None else where
        query.group_by = None
    rows: QuerySet[Any] = QuerySet(query.model, query=query, using=using)
    if query.is_sliced and not connections[using].features.allow_sliced_subqueries_with_in:
        return list(rows.values_list("pk", flat=True))
    return rows.values("pk")
