"""Checks of the index that begins with the deadline: as the model declares it, and as the database has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections
from django.db.models import F, Field, Model, UniqueConstraint
from django.db.models.expressions import OrderBy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapse.integrations.django.unpaid_orders import UnpaidOrders

    Orders = type[UnpaidOrders[Any]]

SORTED = frozenset({"btree", "idx"})
"""What Django calls indexes that the database can read in the sequence of their values, in lower case."""

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""The folders of what pip and Debian install."""


def check_declared_index(orders: Orders, field: Field[Any, Any], using: str) -> Iterator[checks.CheckMessage]:
    """Yield a finding if no index of the model begins with the field. The database may have one all the same."""
    if not _is_declared(field):
        yield _no_index(orders, field, using)


def check_index(orders: Orders, field: Field[Any, Any], using: str) -> Iterator[checks.CheckMessage]:
    """Yield a finding if the database has no index that begins with the field's column."""
    connection = connections[using]
    with connection.cursor() as cursor:
        indexes = connection.introspection.get_constraints(cursor, field.model._meta.db_table)  # noqa: SLF001 - public API
    if not indexes:  # a view, or a table whose name contains that of its schema
        yield from check_declared_index(orders, field, using)
        return
    for index in indexes.values():
        kind = str(index.get("type") or "btree").lower()
        found = index["index"] or index["unique"] or index["primary_key"]
        if found and (index["columns"] or [])[:1] == [field.column] and kind in SORTED:
            return
    if not _is_declared(field):
        yield _no_index(orders, field, using)
        return
    yield checks.Error(
        f"{field.model.__name__} declares an index that begins with {field.name!r}, but the database lacks it, so each "
        "sweep would read every order.",
        hint="Run `manage.py makemigrations` and `manage.py migrate`. Was a migration faked, or the index dropped? "
        f"Then run: {_create(field, using)};",
        obj=orders,
        id="lapse.E003",
    )


def _no_index(orders: Orders, field: Field[Any, Any], using: str) -> checks.CheckMessage:
    name = field.model.__name__
    problem = f"No index of {name} begins with {field.name!r}, so each sweep would read every order."
    if _is_own(orders, field.model):
        return checks.Error(
            problem,
            hint=f"Add models.Index(fields=[{field.name!r}], condition=<the unpaid condition>, name=…) to its Meta.",
            obj=orders,
            id="lapse.E003",
        )
    table = connections[using].ops.quote_name(field.model._meta.db_table)  # noqa: SLF001 - public API
    drop = f"DROP INDEX {_name(field)}{f' ON {table}' if connections[using].vendor == 'mysql' else ''}"
    return checks.Warning(
        problem,
        hint=f"{name} belongs to another application. Write a migration in one of yours, with a dependency on the "
        f"newest migration of {field.model._meta.app_label!r}, and the operation "  # noqa: SLF001 - public API
        f"migrations.RunSQL({_create(field, using)!r}, {drop!r}). Then `manage.py check --database {using}` finds the "
        "index. A check without --database cannot, and goes on warning: silence lapse.W003 then.",
        obj=orders,
        id="lapse.W003",
    )


def _create(field: Field[Any, Any], using: str) -> str:
    quoted = connections[using].ops.quote_name
    table, column = quoted(field.model._meta.db_table), quoted(str(field.column))  # noqa: SLF001 - public API
    return f"CREATE INDEX {_name(field)} ON {table} ({column})"


def _name(field: Field[Any, Any]) -> str:
    return f"lapse_{field.column}"


def _is_own(orders: Orders, model: type[Model]) -> bool:
    """Return whether the model is the shop's, whose Meta the shop can change."""
    if orders.__module__.partition(".")[0] == model.__module__.partition(".")[0]:
        return True
    file = getattr(sys.modules.get(model.__module__), "__file__", None) or ""
    return INSTALLED.isdisjoint(Path(file).parts)


def _is_declared(field: Field[Any, Any]) -> bool:
    """Return whether an index begins with the field. Then the database can read a range without the whole table."""
    if getattr(field, "db_index", False) or field.unique:
        return True
    meta = field.model._meta  # noqa: SLF001 - Django's public API; a parent's, for a field of a parent's table
    firsts: list[object] = [tuple(names)[:1] for names in meta.unique_together]
    for index in [*meta.indexes, *(c for c in meta.constraints if isinstance(c, UniqueConstraint))]:
        firsts.append(tuple(name.removeprefix("-") for name in list(index.fields)[:1]))
        firsts += [(_named(expression),) for expression in list(getattr(index, "expressions", ()))[:1]]
    return (field.name,) in firsts


def _named(expression: object) -> str | None:
    if isinstance(expression, OrderBy):
        expression = expression.expression
    return getattr(expression, "name", None) if isinstance(expression, F) else None
