"""Static checks of a shop's payments: the model of its attempts, the hooks for money, and its gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import FieldDoesNotExist

from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.orders.late_money import LateMoney

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model

    Orders = type[UnpaidOrders[Any]]

CALLS = ("query", "close", "refund", "refund_status")
"""What a gateway must have so that no money is lost."""


def check_attempts(orders: Orders) -> Iterator[checks.CheckMessage]:
    """Yield what keeps Lapse from booking money: a model or a hook that is missing, or a gateway that cannot answer."""
    if orders.attempts is None:
        if orders.gateways:
            yield checks.Warning(
                "Money that comes after an order was cancelled is not found: Lapse does not keep the attempts to pay.",
                hint="Declare `attempts`, a model that inherits AbstractPaymentAttempt; or find such money yourself.",
                obj=orders,
                id="lapse.W016",
            )
        return
    if problem := _wrong_model(orders.attempts, orders.model):
        yield checks.Error(
            f"`attempts` must be a model with what Lapse stores about a payment, but {problem}.",
            hint="Inherit lapse.integrations.django.attempts.AbstractPaymentAttempt, and add the foreign key `order`.",
            obj=orders,
            id="lapse.E016",
        )
    for hook, lost in (("on_paid", "no payment could be booked"), ("was_cancelled", "late money would have no rule")):
        if getattr(orders, hook) is getattr(UnpaidOrders, hook):
            yield checks.Error(f"{hook}() is missing, so {lost}.", obj=orders, id="lapse.E016")
    if orders.late_money is LateMoney.REINSTATE and orders.reinstate is UnpaidOrders.reinstate:
        yield checks.Error(
            "reinstate() is missing, so `late_money` REINSTATE would refund each time.",
            hint="Define reinstate(self, order), or declare late_money = LateMoney.REFUND.",
            obj=orders,
            id="lapse.E016",
        )
    for name, gateway in orders.gateways.items():
        if missing := [call for call in CALLS if not callable(getattr(gateway, call, None))]:
            yield checks.Error(
                f"Gateway {name!r} has no {', '.join(f'{call}()' for call in missing)}, so money would be lost.",
                hint="Implement lapse.orders.Gateway; lapse.testing.gateway_conformance tests it.",
                obj=orders,
                id="lapse.E017",
            )


def _wrong_model(attempts: type[Any], model: type[Model]) -> str:
    """Return what is wrong with the model of the attempts; empty if it is right."""
    # Imported here, because Django can load the abstract model only once all applications are known.
    from lapse.integrations.django.attempts import AbstractPaymentAttempt  # noqa: PLC0415

    if not (isinstance(attempts, type) and issubclass(attempts, AbstractPaymentAttempt)):
        return f"{attempts!r} does not inherit AbstractPaymentAttempt"
    try:
        meta: Any = attempts._meta  # noqa: SLF001 - Django's public API
        field = meta.get_field("order")
    except FieldDoesNotExist:
        return f"{attempts.__name__} has no field `order`"
    if not field.remote_field or field.related_model._meta.concrete_model is not model._meta.concrete_model:  # noqa: SLF001 - public API
        return f"`order` of {attempts.__name__} does not lead to {model.__name__}"
    return ""
