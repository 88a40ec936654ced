"""System checks: Django reports a wrong set-up when it starts, before the first order fails to lapse."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import router
from django.db.models import DateTimeField, Field, Model, Q
from django.utils import timezone

from lapse.config import check_url
from lapse.engine.errors import ConfigError
from lapse.integrations.django.checks.attempts import check_attempts
from lapse.integrations.django.checks.condition import check_condition, check_still_unpaid
from lapse.integrations.django.checks.connection import check_autocommit, check_time_zone
from lapse.integrations.django.checks.grace import check_grace
from lapse.integrations.django.checks.index import check_declared_index
from lapse.integrations.django.checks.q_match import q_matches
from lapse.integrations.django.checks.reminders import check_reminders
from lapse.integrations.django.checks.values import check_values, written
from lapse.integrations.django.checks.windows import check_windows
from lapse.integrations.django.rows.columns import column_of
from lapse.integrations.django.settings import hooks, orders_class
from lapse.integrations.django.timer_setting import timer_url
from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.orders.cause import EXPIRED
from lapse.orders.since import Since, field_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps.config import AppConfig

    Orders = type[UnpaidOrders[Any]]


NOW = (timezone.now, datetime.now)
"""Defaults of a field that are no deadline, but the moment at which the row is made."""


def check_setup(
    *, app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **_: object
) -> list[checks.CheckMessage]:
    """Check the settings and the class that LAPSE_ORDERS names; return the faults. Contacts no database.

    The index is left to the rehearsal if that looks into `databases` at the same time.
    """
    del app_configs
    found: list[checks.CheckMessage] = list(_check_settings())
    try:
        orders = orders_class()
    except ConfigError as error:
        return [checks.Error(str(error), id="lapse.E001"), *found]
    if not (isinstance(getattr(orders, "model", None), type) and issubclass(orders.model, Model)):
        return [checks.Error("`model` must be the order model.", obj=orders, id="lapse.E001"), *found]
    if not isinstance(getattr(orders, "deadline", None), str | Since):
        message = "`deadline` must name the deadline field, or be as Since('placed_at', minutes=30)."
        return [checks.Error(message, obj=orders, id="lapse.E002"), *found]
    using = router.db_for_write(orders.model)
    rehearsed = using in (databases or ())
    deadline = _check_deadline(orders, None if rehearsed else using)
    found += [*check_time_zone(using), *check_autocommit(using)]
    payments = [*check_reminders(orders), *check_windows(orders), *check_attempts(orders)]
    return [
        *found,
        *deadline,
        *check_grace(orders),
        *check_condition(orders),
        *_check_writes(orders),
        *_check_key(orders),
        *payments,
    ]


def _check_settings() -> Iterator[checks.CheckMessage]:
    url = timer_url()
    try:
        if url is not None:
            check_url(url)
    except ConfigError as error:
        yield checks.Error(f"LAPSE_TIMER: {error}", hint="Use None for the sweep alone.", id="lapse.E006")
    try:
        hooks()
    except ConfigError as error:
        yield checks.Error(str(error), id="lapse.E011")


def _check_deadline(orders: Orders, using: str | None) -> Iterator[checks.CheckMessage]:
    name = field_of(orders.deadline)
    field = column_of(orders.model, name)
    if not isinstance(field, DateTimeField):
        problem = "is not a field of it" if field is None else f"is a {type(field).__name__}"
        yield checks.Error(
            f"The deadline of {orders.model.__name__} must be a DateTimeField, but {name!r} {problem}.",
            obj=orders,
            id="lapse.E002",
        )
    elif field.auto_now:
        yield checks.Error(
            f"{name!r} has auto_now, so each save() of an order would move its deadline.",
            hint="Name a field that is written once, as with auto_now_add.",
            obj=orders,
            id="lapse.E002",
        )
    elif not isinstance(orders.deadline, Since) and (field.auto_now_add or field.default in NOW):
        yield checks.Error(
            f"{name!r} is the moment at which the order was made, so each order would lapse at once.",
            hint=f"Add the time to pay: deadline = Since({name!r}, minutes=30), from lapse.integrations.django.",
            obj=orders,
            id="lapse.E002",
        )
    elif using is not None:
        yield from check_declared_index(orders, field, using)


def _check_writes(orders: Orders) -> Iterator[checks.CheckMessage]:
    own_transition = orders.transition is not UnpaidOrders.transition
    if orders.on_lapse is UnpaidOrders.on_lapse and not own_transition:
        yield checks.Error(
            "on_lapse() is missing, so cancelled orders would keep their stock.",
            hint="Define on_lapse(self, orders); it runs in the same transaction.",
            obj=orders,
            id="lapse.E005",
        )
    unpaid = getattr(orders, "unpaid", None)
    condition = unpaid if isinstance(unpaid, Q) else Q()
    try:
        lapsed, closing = written(orders, "lapsed"), written(orders, "closing")
        reopened = written(orders, "reopened")
    except Exception as error:  # noqa: BLE001 - the shop's own function may raise anything
        message = f"`lapsed`, `closing` or `reopened`, called with a reason and an actor, returns no values: {error!r}"
        yield checks.Error(message, obj=orders, id="lapse.E008")
        return
    reason = {orders.reason_field: EXPIRED} if orders.reason_field else {}
    unknown = [name for name in [*lapsed, *closing, *reopened, *reason] if column_of(orders.model, name) is None]
    for name in unknown:
        yield checks.Error(f"{orders.model.__name__} has no field {name!r} to write.", obj=orders, id="lapse.E008")
    declared = {"lapsed": lapsed, "closing": closing, "reopened": reopened, "reason_field": reason}
    for attribute, values in declared.items():
        yield from check_values(orders, attribute, values)
    if bool(lapsed) is own_transition:
        both = (
            "Both `lapsed` and transition() are declared" if lapsed else "Neither `lapsed` nor transition() is declared"
        )
        yield checks.Error(
            f"{both}: one of them must cancel the order.",
            hint="Write lapsed = {'status': 'cancelled'}; a state machine overrides transition(self, order).",
            obj=orders,
            id="lapse.E014",
        )
    if not unknown:
        yield from check_still_unpaid(orders, lapsed)
    if closing and condition and q_matches(condition, closing) is False:
        yield checks.Error(
            "A row with the values of `closing` would not match `unpaid`, so no process would go on after a crash.",
            hint="Let `unpaid` cover both states, as Q(status__in=['awaiting_payment', 'closing']).",
            obj=orders,
            id="lapse.E009",
        )
    if reopened and condition and q_matches(condition, reopened) is False:
        yield checks.Error(
            "A row with the values of `reopened` would not match `unpaid`, so it could neither be paid nor lapse.",
            hint="Let `reopened` write the state of an order that waits for its payment.",
            obj=orders,
            id="lapse.E009",
        )
    if reopened and not (closing and orders.reason_field):
        yield checks.Error(
            "`reopened` needs `closing` and `reason_field`: they tell an order that the timer is closing from an order "
            "that a person is cancelling, which is never reopened.",
            hint="Declare both, or leave `reopened` out.",
            obj=orders,
            id="lapse.E009",
        )


def _check_key(orders: Orders) -> Iterator[checks.CheckMessage]:
    field = orders.model._meta.pk if orders.key == "pk" else column_of(orders.model, orders.key)  # noqa: SLF001 - public API
    if len(getattr(orders.model._meta, "pk_fields", ())) > 1 and orders.key == "pk":  # noqa: SLF001 - public API
        yield checks.Error(
            f"The primary key of {orders.model.__name__} has several columns, so its str() is not a key.",
            hint="Name a unique field in `key`, for example key = 'number'.",
            obj=orders,
            id="lapse.E010",
        )
    elif field is None or field.null or not (field.unique or _has_unique_constraint(orders.model, field)):
        yield checks.Error(
            f"`key` is {orders.key!r}, which is not a unique, non-null field of {orders.model.__name__}.",
            obj=orders,
            id="lapse.E010",
        )


def _has_unique_constraint(model: type[Model], field: Field[Any, Any]) -> bool:
    constraints = model._meta.total_unique_constraints  # noqa: SLF001 - Django's public API
    return any(tuple(constraint.fields) == (field.name,) for constraint in constraints)
