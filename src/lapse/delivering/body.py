"""The body of a message: a JSON template with a place for the order's key."""

import json
import re
from typing import Any

from lapse.engine.errors import ConfigError

PLACE = "{key}"
EXAMPLE = '{"order_id": "{key}"}'

MOST_NUMBER = 2**53
"""JavaScript keeps whole numbers below this one exactly."""

_LONE = re.compile("[\ud800-\udfff]")
_INDEX = re.compile("0|[1-9][0-9]{0,9}")


class Body:
    """A JSON template. The order's key, quoted for JSON, replaces each `{key}` inside a string.

    Raises ConfigError for a template that is not JSON, or that has no place for the key.
    """

    def __init__(self, template: str) -> None:
        try:
            self._document = _as_node(json.loads(template, parse_constant=_no_number), exact=True)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"the template of the body must be JSON, with {PLACE} inside a string, as {EXAMPLE}: {error}"
            ) from error
        if self._filled("a") == self._filled("b"):
            raise ConfigError(f"the template of the body needs {PLACE} in a string, as {EXAMPLE}, to name the order")

    def of(self, key: str) -> str:
        """Return the body for one key, byte for byte as `JSON.stringify` writes it.

        Many receivers on Node verify the signature over `JSON.stringify(request.body)`, not over the bytes that came.
        """
        return _text(self._filled(key))

    def _filled(self, key: str) -> Any:  # noqa: ANN401 - all that JSON can be
        def fill(value: Any) -> Any:  # noqa: ANN401 - as above
            match value:
                case str():
                    return value.replace(PLACE, key)
                case list():
                    return [fill(item) for item in value]
                case dict():
                    return {name: fill(item) for name, item in value.items()}
            return value

        return fill(self._document)


def as_json(document: Any) -> str:  # noqa: ANN401 - all that JSON can be
    """Return the document as `JSON.stringify` writes it, as `Body.of` does.

    Numbers that JavaScript would change, of 2**53 and more for example, are written as Python writes them.
    """
    return _text(_as_node(document, exact=False))


def _text(document: Any) -> str:  # noqa: ANN401 - as above
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return _LONE.sub(lambda lone: f"\\u{ord(lone[0]):04x}", text)


def _as_node(value: Any, *, exact: bool) -> Any:  # noqa: ANN401 - all that JSON can be
    """Return the document as JavaScript keeps it: names that are whole numbers first, in their order, and 1.0 as 1.

    If `exact`, raises ConfigError for a number that JavaScript would change, or write in another way.
    """
    match value:
        case dict():
            numbers = sorted((name for name in value if _is_index(name)), key=int)
            return {
                name: _as_node(value[name], exact=exact) for name in [*numbers, *(n for n in value if not _is_index(n))]
            }
        case list():
            return [_as_node(item, exact=exact) for item in value]
        case bool():
            return value
        case int() | float():
            if abs(value) >= MOST_NUMBER or "e" in repr(value):
                if not exact:
                    return value
                raise ConfigError(
                    f"the template of the body has the number {value}, which JavaScript would write in another way: "
                    "put it into a string"
                )
            return int(value) if value == int(value) else value
    return value


def _is_index(name: str) -> bool:
    return _INDEX.fullmatch(name) is not None and int(name) < 2**32 - 1


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
