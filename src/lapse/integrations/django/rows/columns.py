"""Finds a model's column by the name that a shop writes."""

from typing import Any

from django.db.models import Model


def column_of(model: type[Model], name: str) -> Any | None:  # noqa: ANN401 - Django's fields have no common type
    """Return the field with a column that has this name, or whose column has it, as a foreign key's `…_id`; or None."""
    fields: Any = model._meta.concrete_fields  # noqa: SLF001 - Django's public API
    return next((field for field in fields if name in (field.name, field.attname)), None)
