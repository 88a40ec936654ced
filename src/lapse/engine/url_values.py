"""The values that URLs have: whole numbers, seconds, switches, choices, files, texts and secrets."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be. `expected` follows "must be"; `read` returns the value, or None for an unfit text.

    A message shows a value only if it is not `secret`.
    """

    expected: str
    read: Callable[[str], str | int | float | bool | None]
    secret: bool = False


def whole(least: int, most: int) -> Kind:
    """Return the kind of whole numbers in a range."""

    def read(text: str) -> int | None:
        return int(text) if re.fullmatch(r"[0-9]{1,15}", text) and least <= int(text) <= most else None

    return Kind(f"{least}" if least == most else f"a whole number from {least} to {most}", read)


def choice(*values: str) -> Kind:
    """Return the kind of the listed values."""
    return Kind(f"{', '.join(values[:-1])} or {values[-1]}", lambda text: text if text in values else None)


def _seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) and float(text) > 0 else None


SECONDS = Kind("a number of seconds above 0", _seconds)
SWITCH = Kind("true or false", lambda text: {"true": True, "false": False}.get(text.lower()))
TEXT = Kind("a text", lambda text: text)
FILE = Kind("a path", lambda text: text)
SECRET = Kind("a text", lambda text: text, secret=True)


@dataclass(frozen=True, slots=True)
class Option:
    """A named value of a URL: its kind, its meaning for the reference page, and what holds if the URL lacks it."""

    kind: Kind
    meaning: str
    default: str | int | float | bool | None = None
    unless_set: str = ""
