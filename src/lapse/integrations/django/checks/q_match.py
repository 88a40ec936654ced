"""Decides without a database, as far as possible, whether a row with given values would match a condition."""

from collections.abc import Mapping

from django.db.models import Q


def q_matches(condition: Q, values: Mapping[str, object]) -> bool | None:
    """Return True if a row with these values matches the condition, False if not, None if the values do not decide it.

    It understands the lookups `exact`, `in` and `isnull` on fields that `values` sets to plain values.
    """
    answers = [
        q_matches(child, values) if isinstance(child, Q) else _lookup_matches(child, values)
        for child in condition.children
    ]
    if condition.connector == Q.AND:
        answer = False if False in answers else None if None in answers else True
    elif condition.connector == Q.OR:
        answer = True if True in answers else None if None in answers else False
    else:
        answer = None
    return None if answer is None else answer is not condition.negated


def _lookup_matches(lookup: object, values: Mapping[str, object]) -> bool | None:
    if not (isinstance(lookup, tuple) and len(lookup) == 2):  # noqa: PLR2004 - Q holds pairs of name and value
        return None
    path, wanted = lookup
    name, _, how = str(path).partition("__")
    if name not in values or _is_expression(values[name]) or _is_expression(wanted):
        return None
    value = values[name]
    if how in {"", "exact"}:
        return bool(value == wanted)
    if how == "in" and isinstance(wanted, list | tuple | set | frozenset):
        return value in wanted
    if how == "isnull":
        return (value is None) is bool(wanted)
    return None


def _is_expression(value: object) -> bool:
    return hasattr(value, "resolve_expression")
