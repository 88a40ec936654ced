"""Checks what a shop passes to its orders' methods. Another object is a TypeError that says what to pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import Model

if TYPE_CHECKING:
    from collections.abc import Collection

M = TypeVar("M", bound=Model)


def checked_orders(orders: Iterable[M], model: type[M], call: str, key_field: str) -> list[M]:
    """Return the orders. Raises TypeError unless each is a saved instance of the model; `call` is how to write it."""
    takes = f"{call} takes instances of {model.__name__}"
    if isinstance(orders, str | bytes | Model) or not isinstance(orders, Iterable):
        raise TypeError(f"{takes} in a list; got {type(orders).__name__}")
    concrete: Any = model._meta.concrete_model  # noqa: SLF001 - Django's public API; a proxy's rows are its model's
    found = list(orders)
    for order in found:
        if not isinstance(order, concrete):
            raise TypeError(f"{takes}; got {type(order).__name__}")
        if getattr(order, key_field) is None:
            raise TypeError(f"{takes} that are saved: this one has no {key_field} yet, or was deleted")
    return found


def checked_keys(keys: Collection[str]) -> list[str]:
    """Return the keys. Raises TypeError unless they are strings in a collection."""
    takes = "lapse() takes a list of keys, which are strings: lapse([str(order.pk)])"
    if isinstance(keys, str | bytes | Model) or not isinstance(keys, Iterable):
        raise TypeError(f"{takes}; got {type(keys).__name__}")
    found = list(keys)
    for key in found:
        if not isinstance(key, str):
            raise TypeError(f"{takes}; got a list with {type(key).__name__}")
    return found
