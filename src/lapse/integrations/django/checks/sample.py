"""Checks that look at the newest orders: whether `unpaid` means the values and the rows that the shop has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db.models import CharField, Q, TextField

from lapse.integrations.django.rows.condition import reads_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapse.integrations.django.rows.queries import Queries
    from lapse.integrations.django.unpaid_orders import UnpaidOrders

NEWEST = 1000
"""How many orders are looked at."""


def check_sample(orders: UnpaidOrders[Any], queries: Queries[Any]) -> Iterator[checks.CheckMessage]:
    """Yield a warning for a condition that misses orders without a word: a text in other letters, a row not there."""
    newest = list(queries.rows().order_by("-pk").values_list("pk", flat=True)[:NEWEST])
    rows = queries.rows(Q(pk__in=newest)).order_by()
    for name, wanted in sorted(_texts(orders, orders.unpaid)):
        stored = {value for value in rows.values_list(name, flat=True).distinct() if isinstance(value, str)}
        alike = sorted(value for value in stored if value.strip().casefold() == wanted.strip().casefold())
        if alike and wanted not in stored:
            yield checks.Warning(
                f"`unpaid` asks for {name} = {wanted!r}, which none of the newest orders has; some have {alike[0]!r}.",
                hint=f"Write {alike[0]!r}, or silence this warning if both are meant.",
                obj=type(orders),
                id="lapse.W037",
            )
    for path in sorted({path for leaf in _required(orders.unpaid) for path in reads_of(orders.model, leaf).related}):
        without = rows.filter(**{f"{path}__isnull": True}).values("pk").distinct().count()
        if without:
            yield checks.Warning(
                f"`unpaid` reads {path}, and {without} of the newest {len(newest)} orders have no such row: they never "
                "match `unpaid`, so they never lapse.",
                hint=f"If such an order can be unpaid, let `unpaid` match it too: a column of the order is best. "
                f"Q({path}__isnull=True) needs `writers_lock`.",
                obj=type(orders),
                id="lapse.W038",
            )


def _required(node: Q) -> Iterator[Q]:
    """Yield the parts of the condition that each unpaid order must match."""
    if node.negated or node.connector != Q.AND:
        return
    for child in node.children:
        if isinstance(child, Q):
            yield from _required(child)
        else:
            yield Q(child)


def _texts(orders: UnpaidOrders[Any], node: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - a node of a Q
    """Yield the order's own text columns in the condition, each with a text that the condition asks for."""
    columns = {field.name for field in orders.model._meta.concrete_fields if isinstance(field, CharField | TextField)}  # noqa: SLF001 - public API
    for child in node.children if isinstance(node, Q) else ():
        if isinstance(child, tuple):
            name, _, lookup = str(child[0]).partition("__")
            wanted = child[1] if lookup == "in" else [child[1]]
            if name in columns and lookup in {"", "exact", "in"} and isinstance(wanted, list | tuple | set | frozenset):
                yield from ((name, str(text)) for text in wanted if isinstance(text, str))
        else:
            yield from _texts(orders, child)
