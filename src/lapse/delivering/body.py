"""The body of a message: a JSON template with a place for the order's key."""

import json
from typing import Any

from lapse.engine.errors import ConfigError

PLACE = "{key}"
EXAMPLE = '{"order_id": "{key}"}'


class Body:
    """A JSON template. The order's key, quoted for JSON, replaces each `{key}` inside a string.

    Raises ConfigError for a template that is not JSON, or that has no place for the key.
    """

    def __init__(self, template: str) -> None:
        try:
            self._document = json.loads(template)
        except ValueError as error:
            raise ConfigError(
                f"the template of the body must be JSON, with {PLACE} inside a string, as {EXAMPLE}: {error}"
            ) from error
        if self._filled("a") == self._filled("b"):
            raise ConfigError(f"the template of the body needs {PLACE} in a string, as {EXAMPLE}, to name the order")

    def of(self, key: str) -> str:
        """Return the body for one key."""
        return json.dumps(self._filled(key), ensure_ascii=False)

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
