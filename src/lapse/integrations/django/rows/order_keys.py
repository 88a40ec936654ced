"""The keys that name orders to the timer, and the values of the key field that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import IntegerField, Model

from lapse.engine.deadline import check_key
from lapse.engine.errors import InvalidDeadline

if TYPE_CHECKING:
    from collections.abc import Iterable


class OrderKeys:
    """The key of an order is `str()` of its value of the field `name`, or of its primary key for "pk"."""

    def __init__(self, model: type[Model], name: str) -> None:
        meta = model._meta  # noqa: SLF001 - Django's public API
        self.name = name
        self.field: Any = meta.pk if name == "pk" else meta.get_field(name)

    @property
    def column(self) -> str:
        """The attribute of an order that its key is made of."""
        return str(self.field.attname)

    def of(self, order: Model) -> str:
        """Return the order's key."""
        return str(self.field.to_python(getattr(order, self.column)))  # the shop may have assigned a text

    def values_of(self, keys: Iterable[str], using: str) -> list[Any]:
        """Return the field's value for each key. A key that no order in the database `using` can have is left out."""
        found = []
        for key in dict.fromkeys(keys):
            try:
                value = self.field.to_python(check_key(key))
            except (ValidationError, InvalidDeadline):
                continue
            if str(value) == key and self._can_be_stored(value, using):
                found.append(value)
        return found

    def _can_be_stored(self, value: object, using: str) -> bool:
        """Return False for a number that is too large for its column.

        The validators of the field are not asked: a shop may have stored other values, such as numbers of older orders.
        """
        field = self.field.target_field if self.field.remote_field else self.field
        if not (isinstance(field, IntegerField) and isinstance(value, int)):
            return True
        least, most = connections[using].ops.integer_field_range(field.get_internal_type())
        return (least is None or least <= value) and (most is None or value <= most)
