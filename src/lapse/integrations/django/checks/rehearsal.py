"""The rehearsal: before the first order, the database itself shows whether it can do what Lapse will ask for.

`manage.py check --database default` runs it, and so does each worker at its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import Error, connections
from django.db.migrations.executor import MigrationExecutor

from lapse.engine.errors import ConfigError, TryLater
from lapse.engine.visible import one_line
from lapse.integrations.django.checks.connection import check_clocks, check_transactions
from lapse.integrations.django.checks.index import check_index
from lapse.integrations.django.checks.sample import check_sample
from lapse.integrations.django.checks.setup import check_setup
from lapse.integrations.django.checks.statements import NOT_MIGRATED, check_deadlines, check_keys, check_statements
from lapse.integrations.django.rows.db_errors import unavailable_is_try_later
from lapse.integrations.django.settings import unpaid_orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapse.integrations.django.rows.queries import Queries
    from lapse.integrations.django.unpaid_orders import UnpaidOrders


def rehearse(orders: UnpaidOrders[Any]) -> list[checks.CheckMessage]:
    """Return what is wrong with the orders' database. Nothing is changed. Raises TryLater if it does not answer."""
    queries: Queries[Any] = orders._queries  # noqa: SLF001 - of this package
    using = queries.using
    with unavailable_is_try_later(using):
        found = [*check_statements(orders, queries)]
        if not found:  # else a table or a column may be missing
            field: Any = orders.model._meta.get_field(queries.deadline.field)  # noqa: SLF001 - Django's public API
            found += check_index(type(orders), field, using)
            found += check_keys(orders, queries)
            found += check_deadlines(orders, queries)
            found += check_sample(orders, queries)
        return [*found, *check_clocks(using), *check_transactions(orders, using)]


def check_rehearsal(*, databases: Sequence[str] | None = None, **_: object) -> list[checks.CheckMessage]:
    """Return what the rehearsal finds, or nothing if `databases` does not name the orders' database.

    Nothing is rehearsed either if the checks without a database find an error. `manage.py migrate` runs this check
    before the migrations. So as long as there are migrations to apply, the rehearsal waits for them.
    """
    orders = _right_orders(databases or ())
    if orders is None:
        return []
    using = orders._queries.using  # noqa: SLF001 - of this package
    try:
        with unavailable_is_try_later(using):
            executor = MigrationExecutor(connections[using])
            to_apply = executor.migration_plan(executor.loader.graph.leaf_nodes())
        return [_to_apply(using)] if to_apply else [_softened(message) for message in rehearse(orders)]
    except ConfigError as error:  # the table of windows is missing
        return [_softened(checks.Error(str(error), id=NOT_MIGRATED))]
    except (TryLater, Error) as error:
        return [
            checks.Error(
                one_line(error),
                hint="Start the database, or correct DATABASES or the rights of its user.",
                id="lapse.E030",
            )
        ]


def _right_orders(databases: Sequence[str]) -> UnpaidOrders[Any] | None:
    """Return the orders if they are in one of these databases and the checks without a database find no error."""
    found = check_setup(databases=databases) if databases else []
    if any(message.is_serious() and not message.is_silenced() for message in found):
        return None
    try:
        orders = unpaid_orders()
    except ConfigError:  # the shop has silenced the check that reports this
        return None
    return orders if orders._queries.using in databases else None  # noqa: SLF001 - of this package


def _to_apply(using: str) -> checks.CheckMessage:
    return checks.Warning(
        f"There are migrations to apply to {using!r}, so nothing was rehearsed.",
        hint=f"Run `manage.py migrate` and then `manage.py check --database {using}`.",
        id="lapse.W030",
    )


def _softened(message: checks.CheckMessage) -> checks.CheckMessage:
    """Return a warning for a table that is missing, because `migrate --run-syncdb` may be about to create the table."""
    if message.id != NOT_MIGRATED:
        return message
    return checks.Warning(message.msg, hint=message.hint, obj=message.obj, id="lapse.W030")
