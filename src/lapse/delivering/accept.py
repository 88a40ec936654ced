"""What an answer's body must say: many APIs answer 200 also when they failed, and say so in a field of their JSON."""

import json
from http import HTTPStatus
from typing import Any

from lapse.engine.errors import ConfigError
from lapse.engine.visible import visible

SHOWN = 200
"""How many characters of an answer a message shows."""

_ABSENT = object()


class Accept:
    """The values of a field that mean success, such as `code=0`, `code=0,200`, `success=true` or `data.state=done`.

    A number, true, false and null are written as in JSON; a text is written without quotes. A dot leads into an object.

    Raises ConfigError for a rule that cannot be read.
    """

    def __init__(self, rule: str) -> None:
        field, equals, values = rule.partition("=")
        self.rule = rule
        self._path = field.strip().split(".")
        self._values = [value.strip() for value in values.split(",")]
        if not equals or not all(self._path) or not all(self._values):
            raise ConfigError(
                f"--accept names a field of the answer's JSON and the values that mean success, like code=0 or "
                f"success=true or code=0,200; got '{visible(rule)}'"
            )

    def refusal(self, body: str, *, whole: bool) -> str:
        """Return why the body does not mean success, or an empty text if it does. `whole`: all of it has arrived."""
        if not whole:
            return f"its body did not arrive whole, and --accept {self.rule} needs it"
        try:
            value: Any = json.loads(body)
        except (ValueError, RecursionError):
            return f"its body is not JSON, and --accept {self.rule} needs it"
        for name in self._path:
            value = value.get(name, _ABSENT) if isinstance(value, dict) else _ABSENT
        field = ".".join(self._path)
        if value is _ABSENT:
            return f"its JSON has no {field}, and --accept is {self.rule}"
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return "" if text in self._values else f"{field} is {visible(text, SHOWN)}, and --accept is {self.rule}"


def looks_like_failure(body: str) -> bool:
    """Return whether the JSON of a 2xx answer seems to say that it failed, by the fields that APIs commonly use."""
    if not body.lstrip().startswith("{"):
        return False
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False
    flags = (document.get(name, True) for name in ("success", "ok", "succeeded"))
    codes = (document.get(name, 0) for name in ("code", "errcode", "errno", "status", "statusCode", "error_code"))
    return any(flag is False for flag in flags) or any(_is_failure(code) for code in codes)


def is_document(body: str) -> bool:
    """Return whether the body is a JSON object, as a view of a shop answers. Servers answer pages for unknown paths."""
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def looks_like_page(body: str) -> bool:
    """Return whether the body is a whole page of HTML, such as a login page. Receivers answer pages to people."""
    return body.lstrip("\ufeff \t\r\n")[:14].lower().startswith(("<!doctype html", "<html"))


def _is_failure(code: object) -> bool:
    """Return whether a code or status names a failure. 0, 1 and the numbers of 2xx are usual for success."""
    if isinstance(code, str) and not code.lstrip("-").isdecimal():
        return code.lower().startswith(("fail", "err"))
    try:
        number = int(code) if isinstance(code, int | str) else 0
    except ValueError:  # too many digits
        return True
    return not (number in (0, 1) or HTTPStatus.OK <= number < HTTPStatus.MULTIPLE_CHOICES)


def beginning(body: str) -> str:
    """Return the beginning of an answer's body for a message, as text in one line. A page of HTML says nothing here."""
    text = " ".join(body[: 4 * SHOWN].split())
    return "" if text.startswith("<") else visible(text, SHOWN)
