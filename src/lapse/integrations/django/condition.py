"""What a condition reads: columns of the order's own row, rows that can be locked, and rows whose absence it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Q

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model


@dataclass
class Reads:
    """What the condition reads.

    * `columns`: names of columns of the order's own row, those of its parent tables included.
    * `related`: paths of relations to rows of other tables that must have a value, as "invoice__customer". As long as
      these rows are locked, nothing can make the condition false.
    * `absent`: each lookup that is true because a row of another table is missing, or that cannot be read by this
      module, such as a subquery. A row may be added at any moment, and no lock on existing rows prevents it.
    * `many`: whether a lookup leads to several rows of one order, so that a join returns the order several times.
    """

    columns: set[str] = field(default_factory=set)
    related: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    many: bool = False


def reads_of(model: type[Model], condition: Q) -> Reads:
    """Return what the condition reads of the model's row and of other rows. Asks no database."""
    reads = Reads()
    _read(model, condition, reads, negated=False)
    manager: Any = model._base_manager  # noqa: SLF001 - Django's public API
    query = manager.all().query
    own = {parent._meta.db_table for parent in (model, *model._meta.get_parent_list())}  # noqa: SLF001 - public API
    if foreign := {join.table_name for join in query.alias_map.values()} - own:
        reads.absent.add(f"the base manager, which joins {', '.join(sorted(foreign))}")
    return reads


def _read(model: type[Model], node: Any, reads: Reads, *, negated: bool) -> None:  # noqa: ANN401 - a node of a Q
    if isinstance(node, Q):
        # Under XOR, a row more may make a condition false as well as true.
        inverted = negated is not node.negated or (node.connector == Q.XOR and len(node.children) > 1)
        for child in node.children:
            _read(model, child, reads, negated=inverted)
    elif isinstance(node, tuple):
        lookup, value = node
        _read_path(model, str(lookup), reads, absent=negated or _is_null(str(lookup), value))
        _read_value(model, value, reads)
    else:
        _read_value(model, node, reads)


def _read_value(model: type[Model], value: Any, reads: Reads) -> None:  # noqa: ANN401 - the right side of a lookup
    """Read the F() objects in an expression. A row that is missing there makes the comparison unknown."""
    if isinstance(value, F):
        if type(value) is F:
            _read_path(model, str(value.name), reads, absent=False)  # type: ignore[attr-defined] # not in the stubs
        else:
            reads.absent.add(repr(value))  # OuterRef and the like
    elif hasattr(value, "query"):  # Subquery, Exists, a queryset
        reads.absent.add(f"a subquery of {value.query.model.__name__ if value.query.model else 'other rows'}")
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _read_value(model, item, reads)
    elif isinstance(value, Q):
        _read(model, value, reads, negated=True)
    elif hasattr(value, "get_source_expressions"):
        if not hasattr(value, "resolve_expression"):
            reads.absent.add(repr(value))
        for source in value.get_source_expressions():
            _read_value(model, source, reads)


def _is_null(lookup: str, value: object) -> bool:
    return (lookup.endswith("__isnull") and bool(value)) or value is None


def _read_path(model: type[Model], path: str, reads: Reads, *, absent: bool) -> None:
    """Note where the path leads. Its end may be a transform or a lookup, such as `__date__gte`."""
    names = list(_fields(model, path.split("__")))
    if not names:
        manager: Any = model._base_manager  # noqa: SLF001 - Django's public API
        if path.partition("__")[0] in manager.all().query.annotations:
            reads.absent.add(f"the annotation {path.partition('__')[0]!r}")
        return
    first: Any = names[0]
    if first.concrete:
        reads.columns.add(first.name)
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
    if unlockable or (backward and absent):
        reads.absent.add(path)
    else:
        reads.related.add("__".join(found.name for found in crossed))


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
            by_column = [column for column in meta.concrete_fields if column.attname == name]
            if not by_column:
                return
            found = by_column[0]
        yield found
        if not found.is_relation or found.related_model is None:
            return
        model = found.related_model
