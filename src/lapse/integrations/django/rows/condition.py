"""What a condition reads: columns of the order's own row, rows that can be locked, and rows whose absence it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, OuterRef, Q
from django.db.models.expressions import Col, CombinedExpression, RawSQL, ResolvedOuterRef
from django.db.models.sql import Query
from django.db.models.sql.where import ExtraWhere

from lapse.integrations.django.rows.columns import column_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model


@dataclass
class Reads:
    """What the condition reads.

    * `columns`: names of columns of the order's own row, those of its parent tables included.
    * `related`: paths of relations to rows of other tables that must have a value, as "invoice__customer". As long as
      these rows are locked, nothing can make the condition false.
    * `absent`: each lookup that may be true because a row of another table is missing, or that this module cannot
      read, such as a subquery. A row may be added at any moment, and no lock on existing rows prevents it.
    * `many`: whether a lookup leads to several rows of one order, so that a join returns the order several times.
    """

    columns: set[str] = field(default_factory=set)
    related: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    many: bool = False


def reads_of(model: type[Model], condition: Q) -> Reads:
    """Return what the condition reads of the model's row and of other rows. Asks no database."""
    reads = Reads()
    _read(model, condition, reads, unsure=False)
    query = _base_query(model)
    for alias, join in query.alias_map.items():
        if not _is_own(query, alias):
            reads.absent.add(f"the base manager, which joins {join.table_name}")
    _read_resolved(query, query.where, Reads(absent=reads.absent), "the base manager")
    return reads


def _read(model: type[Model], node: Any, reads: Reads, *, unsure: bool) -> None:  # noqa: ANN401 - a node of a Q
    if isinstance(node, Q):
        # Under XOR, a row more may make a condition false as well as true. A negation may be a subquery, which no
        # locking read covers: also below a second negation.
        unsure = unsure or node.negated or (node.connector == Q.XOR and len(node.children) > 1)
        for child in node.children:
            _read(model, child, reads, unsure=unsure)
    elif isinstance(node, tuple):
        lookup, value = node
        _read_path(model, str(lookup), reads, absent=unsure or _is_null(str(lookup), value))
        _read_value(model, value, reads, unsure=unsure)
    else:
        _read_value(model, node, reads, unsure=True)


def _read_value(model: type[Model], value: Any, reads: Reads, *, unsure: bool) -> None:  # noqa: ANN401 - any value
    """Read the F() objects in an expression, the right side of a lookup.

    A row that is missing there makes a comparison unknown, and arithmetic as well. Any other expression may turn its
    NULL into a value, as Coalesce does, or count the rows.
    """
    if isinstance(value, OuterRef | ResolvedOuterRef | RawSQL):
        reads.absent.add(repr(value))
    elif isinstance(value, F):
        _read_path(model, str(value.name), reads, absent=unsure)  # type: ignore[attr-defined] # not in the stubs
    elif subquery := _subquery(value):
        reads.absent.add(subquery)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _read_value(model, item, reads, unsure=unsure)
    elif isinstance(value, Q):
        _read(model, value, reads, unsure=True)
    elif hasattr(value, "get_source_expressions"):
        if not hasattr(value, "resolve_expression"):
            reads.absent.add(repr(value))
        unsure = unsure or not isinstance(value, CombinedExpression)
        # A lookup has no source expression for a queryset on its right side.
        for source in [*value.get_source_expressions(), getattr(value, "rhs", None)]:
            _read_value(model, source, reads, unsure=unsure)


def _read_resolved(query: Query, node: Any, reads: Reads, name: str) -> None:  # noqa: ANN401 - a node of a query
    """Read a part of the base manager's query, named `name`. Columns of other tables and subqueries are `absent`."""
    if isinstance(node, Col):
        if _is_own(query, node.alias):
            reads.columns.add(node.target.name)
        else:
            reads.absent.add(f"{name}, which joins {node.target.model._meta.db_table}")  # noqa: SLF001 - public API
    elif isinstance(node, RawSQL | ExtraWhere):
        reads.absent.add(f"{name}, which has raw SQL")
    elif subquery := _subquery(node):
        reads.absent.add(f"{name}, which has {subquery}")
    elif isinstance(node, list | tuple | set | frozenset):
        for item in node:
            _read_resolved(query, item, reads, name)
    elif hasattr(node, "get_source_expressions"):
        for source in node.get_source_expressions():
            _read_resolved(query, source, reads, name)


def _subquery(value: Any) -> str | None:  # noqa: ANN401 - the right side of a lookup
    """Return the name of a Subquery, an Exists or a queryset; None for another value."""
    query = value if isinstance(value, Query) else getattr(value, "query", None)
    if not isinstance(query, Query):
        return None
    return f"a subquery of {query.model.__name__ if query.model else 'other rows'}"


def _base_query(model: type[Model]) -> Query:
    manager: Any = model._base_manager  # noqa: SLF001 - Django's public API
    query: Query = manager.all().query
    return query


def _is_own(query: Query, alias: str) -> bool:
    """Return whether the alias is the order's own table, or a parent's that it is joined to by inheritance."""
    join: Any = query.alias_map[alias]
    return join.parent_alias is None or _is_inheritance(join.join_field)


def _is_inheritance(relation: Any) -> bool:  # noqa: ANN401 - Django's relations have no common type
    """Return whether the relation leads to the parent's part of the same row."""
    return bool(relation.concrete and relation.remote_field and relation.remote_field.parent_link)


def _is_null(lookup: str, value: object) -> bool:
    return (lookup.endswith("__isnull") and bool(value)) or value is None


def _read_path(model: type[Model], path: str, reads: Reads, *, absent: bool) -> None:
    """Note where the path leads. Its end may be a transform or a lookup, such as `__date__gte`."""
    if _read_annotation(model, path, reads):
        return
    names = list(_fields(model, path.split("__")))
    names = [name for name in names[:-1] if not _is_inheritance(name)] + names[-1:]
    if not names:
        return
    first: Any = names[0]
    if first.concrete:
        reads.columns.add(first.name)
    if getattr(first, "generated", False):
        _read_value(model, first.expression, reads, unsure=True)
    crossed = [found for found in names if found.is_relation]
    if names[-1].is_relation and names[-1].concrete and not names[-1].many_to_many:
        crossed = crossed[:-1]  # the path ends at the key, which is in the row before
    elif crossed and _is_key(names):
        crossed = crossed[:-1]
    if not crossed:
        return
    reads.many |= any(found.one_to_many or found.many_to_many for found in crossed)
    backward = any(not found.concrete or found.many_to_many for found in crossed)
    unlockable = any(found.many_to_many or (not hasattr(found, "field") and not found.concrete) for found in crossed)
    if unlockable or (backward and absent) or ((backward or absent) and not all(map(_is_constrained, crossed))):
        reads.absent.add(path)
    else:
        reads.related.add("__".join(found.name for found in crossed))


def _is_constrained(relation: Any) -> bool:  # noqa: ANN401 - Django's relations have no common type
    """Return whether the database has a foreign key, so that no row is added while the other row is locked."""
    return bool(getattr(relation if relation.concrete else relation.field, "db_constraint", True))


def _read_annotation(model: type[Model], path: str, reads: Reads) -> bool:
    """Read the base manager's annotation or FilteredRelation that the path begins with; return False if none does.

    As in Django, it takes precedence over a field, and its name may have "__" in it.
    """
    query: Any = _base_query(model)
    parts = path.split("__")
    for name in ("__".join(parts[:length]) for length in range(len(parts), 0, -1)):
        if name in query.annotations:
            _read_resolved(query, query.annotations[name], reads, f"the annotation {name!r}")
            return True
    if parts[0] in query._filtered_relations:  # noqa: SLF001 - Django has no public name for it
        reads.absent.add(f"the FilteredRelation {parts[0]!r}")
        return True
    return False


def _is_key(names: list[Any]) -> bool:
    """Return whether the path ends at the key that the foreign key before it stores, as in `invoice__pk`."""
    if len(names) < 2 or not (names[-2].is_relation and names[-2].concrete and not names[-2].many_to_many):  # noqa: PLR2004 - a relation and its end
        return False
    return names[-1] in names[-2].foreign_related_fields


def _fields(model: Any, names: list[str]) -> Iterator[Any]:  # noqa: ANN401 - the model of a relation may be None
    """Yield the fields that the names lead along, until a name is no field: a transform or a lookup."""
    for name in names:
        meta = model._meta  # noqa: SLF001 - Django's public API
        try:
            found: Any = meta.pk if name == "pk" else meta.get_field(name)
        except FieldDoesNotExist:
            found = column_of(model, name)
            if found is None:
                return
        yield found
        if not found.is_relation or found.related_model is None:
            return
        model = found.related_model
