"""Static checks of the values that Lapse writes: `lapsed`, `closing`, and the reason. They need no database."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import ValidationError
from django.db.models import Model

from lapse.integrations.django.rows.columns import column_of
from lapse.orders.cause import EXPIRED, TIMER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lapse.integrations.django.unpaid_orders import UnpaidOrders

    Orders = type[UnpaidOrders[Any]]


def written(orders: Orders, attribute: str) -> Mapping[str, object]:
    """Return the values that the attribute writes for an expired order; empty if the attribute is not set."""
    values = getattr(orders, attribute, None)
    if callable(values):
        values = getattr(orders(), attribute)(EXPIRED, TIMER)
    return dict(values or {})


def check_values(orders: Orders, attribute: str, values: Mapping[str, object]) -> Iterator[checks.CheckMessage]:
    """Yield an error for each value that its column cannot hold, and a warning for each that is not a choice.

    Fields that the model does not have are left out. Expressions are computed by the database, so the rehearsal sends
    them.
    """
    meta = orders.model._meta  # noqa: SLF001 - Django's public API
    for name, value in values.items():
        field = column_of(orders.model, name)
        if field is None or hasattr(value, "resolve_expression"):
            continue
        stored = value.pk if isinstance(value, Model) else value
        if problem := _problem(field, stored):
            yield checks.Error(
                f"`{attribute}` writes {value!r} to {name!r} of {meta.object_name}, which cannot hold it: {problem}",
                hint=f"Write another value, or change the field {name!r}.",
                obj=orders,
                id="lapse.E020",
            )
        elif field.choices and field.to_python(stored) not in [choice for choice, _ in field.flatchoices]:
            yield checks.Warning(
                f"`{attribute}` writes {value!r} to {name!r} of {meta.object_name}, which is not one of its choices.",
                hint=f"Write one of the choices, or add the value to the choices of {name!r}.",
                obj=orders,
                id="lapse.W020",
            )


def _problem(field: Any, value: object) -> str:  # noqa: ANN401 - Django's fields have no common type
    """Return why the column cannot hold the value, as the field says it; empty if it can hold the value."""
    if value is None:
        return "" if field.null else "the field has no null=True."
    target = field.target_field if field.remote_field else field  # a foreign key holds what its target field holds
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # Django's for a time without its time zone
            target.get_prep_value(value)
            target.run_validators(target.to_python(value))
    except ValidationError as error:
        return " ".join(error.messages)
    except Exception as error:  # noqa: BLE001 - a field of the shop or of another library may raise anything
        return str(error) or repr(error)
    return ""
