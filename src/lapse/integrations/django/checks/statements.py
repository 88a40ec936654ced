"""Checks that send statements to the orders' table: whether the database accepts them, and what the rows say."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import FieldError
from django.db import Error, connections, transaction
from django.db.models import F, FloatField, Func, Model, Q, QuerySet
from django.db.models.lookups import IsNull

from lapse.integrations.django.checks.values import written
from lapse.integrations.django.rows.db_errors import codes_of
from lapse.integrations.django.rows.row_locks import one_of
from lapse.orders.cause import EXPIRED
from lapse.orders.rows import Which

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lapse.integrations.django.rows.queries import Queries
    from lapse.integrations.django.unpaid_orders import UnpaidOrders

    Steps = Iterator[tuple[str, Callable[[], object]]]

NO_ROWS = one_of("pk", ())

ROWS = 3
"""How many rows are read, or named in a message."""

NOT_MIGRATED = "lapse.E033"
"""The id of the error for a table or a column that the database lacks."""

LACKING: set[object] = {"42P01", "42703", 1146, 1054}
"""undefined_table and undefined_column of PostgreSQL; ER_NO_SUCH_TABLE and ER_BAD_FIELD_ERROR of MySQL."""

DENIED: set[object] = {"42501", 1142, 1143}
"""insufficient_privilege of PostgreSQL; ER_TABLEACCESS_DENIED_ERROR and ER_COLUMNACCESS_DENIED_ERROR of MySQL."""

PASSING: set[object] = {"55P03", "57014", "40P01", "40001", 1205, 1213}
"""lock_not_available, query_canceled (a time-out), deadlock_detected and serialization_failure of PostgreSQL;
ER_LOCK_WAIT_TIMEOUT and ER_LOCK_DEADLOCK of MySQL. SQLite says "database is locked" in words."""


def check_statements(orders: UnpaidOrders[Any], queries: Queries[Any]) -> Iterator[checks.CheckMessage]:
    """Send every statement of Lapse, so that no row matches and nothing is changed; yield what the database refuses.

    One error for each message of the database, even if it refuses several statements with that message. A warning, and
    no further statement, if the database was only busy. A lost connection raises Django's error.
    """
    found: dict[str, checks.CheckMessage] = {}
    action = "begin a transaction"
    try:
        with queries.transaction():
            for action, send in _steps(orders, queries):
                try:
                    with transaction.atomic(using=queries.using):
                        send()
                except (Error, FieldError, TypeError, ValueError) as error:
                    if not connections[queries.using].is_usable() or codes_of(error) & PASSING:
                        raise
                    message = _first_line(error)
                    found.setdefault(message, _refused(orders, action, error, message))
            transaction.set_rollback(True, using=queries.using)
    except Error as error:
        if not connections[queries.using].is_usable():
            raise
        message = _first_line(error)
        found[message] = _refused(orders, action, error, message)
    yield from found.values()


def _steps(orders: UnpaidOrders[Any], queries: Queries[Any]) -> Steps:
    """Yield each statement, and what it does."""
    yield "lock overdue orders", partial(queries.lock, [], Which.DUE, wait=False)
    yield "lock an order for a person", partial(queries.lock, [], Which.UNPAID, wait=True)
    yield "read whether orders are unpaid and due", partial(queries.ask, [])
    yield "read whether orders are still unpaid", partial(queries.unpaid, [])
    for attribute in ("closing", "reopened", "lapsed"):
        if values := written(type(orders), attribute):
            reason = {orders.reason_field: "" if attribute == "reopened" else EXPIRED} if orders.reason_field else {}
            yield f"write the values of `{attribute}`", partial(_change, queries, orders.model, {**reason, **values})
    yield "find overdue orders", partial(queries.overdue, 1)
    yield "find overdue orders that a page shows", partial(queries.overdue, 1, where=NO_ROWS)
    if orders.remind is not None:
        yield "find orders to remind of", partial(orders.reminder_queries.overdue, 1)
    yield "read all deadlines", lambda: list(queries.deadlines(orders.unpaid & NO_ROWS))


def _change(queries: Queries[Any], model: type[Model], values: Mapping[str, Any]) -> None:
    """Write the values on no rows. For a model whose parents have tables, Django sends nothing by itself."""
    queries.change([], values)
    if not model._meta.parents:  # noqa: SLF001 - Django's public API
        return
    owners: dict[str, Any] = {name: model._meta.get_field(name).model for name in values}  # noqa: SLF001 - public API
    for owner in set(owners.values()):
        of_owner = {name: value for name, value in values.items() if owners[name] is owner}
        QuerySet(owner, using=queries.using).filter(NO_ROWS).update(**of_owner)


def _refused(orders: UnpaidOrders[Any], action: str, error: Exception, message: str) -> checks.CheckMessage:
    codes = codes_of(error)
    text = message.lower()
    number = "lapse.E030"
    if codes & PASSING or "is locked" in text:
        return checks.Warning(
            f"The database was too busy for the statement to {action}: {message}",
            hint="Run `manage.py check --database` once more: not everything was rehearsed.",
            obj=type(orders),
            id="lapse.W030",
        )
    if codes & LACKING or text.startswith(("no such table", "no such column")):
        number = NOT_MIGRATED
        hint = "Run `manage.py migrate`: the database lacks a table or a column that a model has."
    elif re.search("read[- ]?only", text):
        hint = "Name a database in DATABASES that can be written, which is no replica and no read-only file."
    elif codes & DENIED:
        hint = "Grant SELECT and UPDATE on the tables of the order and of `lock` to the database's user."
    elif action.startswith("write"):
        hint = "Correct the values, or the columns that they are written to."
    else:
        hint = "Change `unpaid` (and `lock`) to a condition that this database accepts."
    text = f"The database refuses the statement to {action}: {message}"
    return checks.Error(text, hint=hint, obj=type(orders), id=number)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [repr(error)])[0]


def check_keys(orders: UnpaidOrders[Any], queries: Queries[Any]) -> Iterator[checks.CheckMessage]:
    """Yield an error if the key of one of the newest rows does not lead back to this row."""
    for pk, value in queries.rows().order_by("-pk").values_list("pk", orders.key)[:ROWS]:
        if queries.pks([str(value)]) == {pk} or not queries.rows(Q(pk=pk)).exists():  # deleted meanwhile
            continue
        yield checks.Error(
            f"The key {str(value)!r} of an order does not lead back to its row, so the order would never lapse.",
            hint="Name a unique field in `key` whose str() finds the row again: an integer, a UUID or a text.",
            obj=type(orders),
            id="lapse.E031",
        )
        return


def check_deadlines(orders: UnpaidOrders[Any], queries: Queries[Any]) -> Iterator[checks.CheckMessage]:
    """Yield a warning if unpaid orders have a deadline that Python cannot read. Such orders never lapse."""
    name = queries.deadline.field
    too_early, too_late = queries.deadline.unreadable()
    wrong = too_early | too_late
    if connections[queries.using].vendor == "sqlite":  # stores any text
        no_time = IsNull(Func(F(name), function="JULIANDAY", output_field=FloatField()), True)  # noqa: FBT003 - Django's
        wrong |= Q(no_time) & Q(**{f"{name}__isnull": False})
    keys = queries.rows(orders.unpaid & wrong).order_by().values_list(orders.key, flat=True).distinct()
    if first := list(keys[:ROWS]):
        count = keys.count()
        named = ", ".join(repr(str(key)) for key in first) + (", …" if count > len(first) else "")
        yield checks.Warning(
            f"{count} unpaid orders have a deadline that is no time from year 1 to 9999, so they never lapse: {named}",
            hint=f"Give them a deadline, or none: UPDATE the column {name!r} of these rows.",
            obj=type(orders),
            id="lapse.W036",
        )
