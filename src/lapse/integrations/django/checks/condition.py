"""Checks of the condition `unpaid`: whether locks can hold it, and whether a cancelled row still matches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db.models import Q
from django.db.models.functions import Now

from lapse.integrations.django.checks.q_match import q_matches
from lapse.integrations.django.rows.columns import column_of
from lapse.integrations.django.rows.condition import reads_of
from lapse.integrations.django.rows.row_locks import SELF
from lapse.orders.since import field_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lapse.integrations.django.unpaid_orders import UnpaidOrders

    Orders = type[UnpaidOrders[Any]]


def check_condition(orders: Orders) -> Iterator[checks.CheckMessage]:
    """Yield what is wrong with `unpaid`, `lock` and `writers_lock`."""
    unpaid = getattr(orders, "unpaid", None)
    model = orders.model.__name__
    if not (isinstance(unpaid, Q) and unpaid):
        yield checks.Error(
            "`unpaid` must be a Q that is not empty: an empty Q would match paid orders as well.",
            obj=orders,
            id="lapse.E007",
        )
        return
    try:
        orders.model._base_manager.filter(unpaid)  # noqa: SLF001 - Django's public API; builds a query, asks nothing
    except (FieldError, ValueError, TypeError) as error:
        yield checks.Error(f"`unpaid` does not fit {model}: {error}", obj=orders, id="lapse.E007")
        return
    wrong = [*_wrong_paths(orders, orders.lock, "lock", "lapse.E012"), *_wrong_writers_lock(orders)]
    yield from wrong
    if wrong:
        return
    deadline = field_of(orders.deadline)
    if _compares_with_now(unpaid, deadline):
        yield checks.Error(
            f"`unpaid` compares the deadline {deadline!r} with the time. An order must be unpaid before and after its "
            "deadline: before, so that it can be paid; after, so that it lapses.",
            hint="Leave the time out of `unpaid`. Lapse asks for the deadline itself.",
            obj=orders,
            id="lapse.E022",
        )
    reads = reads_of(orders.model, unpaid)
    if unlocked := sorted(path for path in reads.related if not _is_covered(path, orders.lock)):
        yield checks.Error(
            f"`unpaid` reads rows of other tables ({', '.join(unlocked)}), which are not locked while an order lapses: "
            "a payment that changes such a row at that moment would be overlooked, and the paid order cancelled. "
            "And an order without such a row never matches, so it never lapses.",
            hint=f"Add lock = {tuple(sorted({*orders.lock, *unlocked}))!r} to the class. But if many orders share "
            "such a row, as a row of a table of states, its lock would delay them all: compare its key instead, which "
            "is a column of the order, as Q(status=2).",
            obj=orders,
            id="lapse.E012",
        )
    if reads.absent and orders.writers_lock is None:
        yield checks.Error(
            "`unpaid` may be true because a row of another table is missing "
            f"({', '.join(sorted(reads.absent))}). No lock can prevent that a payment adds the row while the order "
            "lapses, so a paid order could be cancelled.",
            hint="Best: read a column of the order that the payment sets. Or, if every transaction that adds, changes "
            "or deletes these rows locks the order first (select_for_update): add "
            f"writers_lock = {SELF!r} to the class, or the relation to the row that it locks.",
            obj=orders,
            id="lapse.E013",
        )


def check_still_unpaid(orders: Orders, lapsed: Mapping[str, object]) -> Iterator[checks.CheckMessage]:
    """Yield an error if a row with these values certainly still matches `unpaid`."""
    unpaid = getattr(orders, "unpaid", None)
    if not (isinstance(unpaid, Q) and unpaid and lapsed):
        return
    again = "Each order would be cancelled, and its stock given back, again and again."
    if q_matches(unpaid, lapsed) is True:
        yield checks.Error(
            f"A row with the values of `lapsed` still matches `unpaid`. {again}",
            hint="Let `lapsed` write a state that `unpaid` does not match.",
            obj=orders,
            id="lapse.E015",
        )
        return
    reads = reads_of(orders.model, unpaid)
    columns = {column.name for name in lapsed if (column := column_of(orders.model, name))}
    if reads.columns and not (reads.related or reads.absent or reads.columns & columns):
        read = ", ".join(sorted(reads.columns))
        yield checks.Error(
            f"`lapsed` writes {', '.join(sorted(lapsed))}, and `unpaid` reads {read}: the row still matches. {again}",
            hint="Add the field that `lapsed` writes to `unpaid`, as Q(status='awaiting_payment', …).",
            obj=orders,
            id="lapse.E015",
        )


def _compares_with_now(node: object, deadline: str) -> bool:
    if isinstance(node, Q):
        return any(_compares_with_now(child, deadline) for child in node.children)
    return isinstance(node, tuple) and str(node[0]).partition("__")[0] == deadline and _has_now(node[1])


def _has_now(value: Any) -> bool:  # noqa: ANN401 - the right side of a lookup
    if isinstance(value, list | tuple):
        return any(map(_has_now, value))
    return isinstance(value, Now) or any(map(_has_now, getattr(value, "get_source_expressions", list)()))


def _is_covered(path: str, locked: Iterable[str]) -> bool:
    """Return whether the rows on the way along a path in `locked` include those at the end of this path."""
    return any(f"{longer}__".startswith(f"{path}__") for longer in locked)


def _wrong_paths(orders: Orders, paths: object, attribute: str, check_id: str) -> Iterator[checks.CheckMessage]:
    if isinstance(paths, str) or not isinstance(paths, tuple | list):
        yield checks.Error(
            f"`{attribute}` must be a tuple of relations; got {paths!r}.",
            hint=f"Write {attribute} = ({paths!r},)" if isinstance(paths, str) else None,
            obj=orders,
            id=check_id,
        )
        return
    for path in paths:
        if problem := _problem_of(orders.model, str(path)):
            yield checks.Error(f"`{attribute}` names {path!r}: {problem}.", obj=orders, id=check_id)


def _wrong_writers_lock(orders: Orders) -> Iterator[checks.CheckMessage]:
    path = orders.writers_lock
    if path in (None, SELF):
        return
    wrong = list(_wrong_paths(orders, (path,), "writers_lock", "lapse.E013"))
    yield from wrong
    if not wrong and not _always_leads_to_a_row(orders.model, str(path)):
        yield checks.Error(
            f"`writers_lock` names {path!r}, which may lead to no row: then there is nothing to lock.",
            hint=f"Name a foreign key that is never null, or {SELF!r} for the order's own row.",
            obj=orders,
            id="lapse.E013",
        )


def _always_leads_to_a_row(model: Any, path: str) -> bool:  # noqa: ANN401 - the model of a relation may be None
    for name in path.split("__"):
        relation: Any = model._meta.get_field(name)  # noqa: SLF001 - Django's public API
        if not relation.concrete or relation.null or not getattr(relation, "db_constraint", False):
            return False
        model = relation.related_model
    return True


def _problem_of(model: Any, path: str) -> str | None:  # noqa: ANN401 - the model of a relation may be None
    """Return why the rows along the path cannot be locked, or None."""
    for name in path.split("__"):
        try:
            relation: Any = model._meta.get_field(name)  # noqa: SLF001 - Django's public API
        except FieldDoesNotExist:
            return f"{model.__name__} has no relation {name!r}"
        if not relation.is_relation or relation.related_model is None:
            return f"{name!r} of {model.__name__} leads to no other table"
        if relation.many_to_many or not (relation.concrete or hasattr(relation, "field")):
            return f"{name!r} of {model.__name__} leads through a third table; only foreign keys can be followed"
        model = relation.related_model
    return None
