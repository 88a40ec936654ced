"""What the value of a fault can be: a choice, a flag, seconds, yuan, a text, a charset, or some of the gateway's calls.

Each kind reads a JSON value, and says in words what it takes. `read` raises ValueError for any other value.
"""

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
from typing import Protocol

from lapse.testing.alipay.requests import CLOSE, QUERY, REFUND, REFUND_QUERY

PREFIX = "alipay.trade."
CALLS = (QUERY, CLOSE, REFUND, REFUND_QUERY)
"""The calls that can have faults."""
_YUAN = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
_LONGEST_TEXT = 64


class Value(Protocol):
    """A kind of value."""

    @property
    def can_be(self) -> str:
        """What this kind takes, in words."""
        ...

    def read(self, given: object) -> object:
        """Return the value that a JSON value means. Raises ValueError."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words; by each, what it means, in English and in Chinese."""

    options: Mapping[str, tuple[str, str]] = field(hash=False)

    @property
    def can_be(self) -> str:
        """The words."""
        return ", ".join(self.options)

    def read(self, given: object) -> str:
        """Return the word. Raises ValueError."""
        if not isinstance(given, str) or given not in self.options:
            raise ValueError(given)
        return given


class Flag:
    """On or off."""

    can_be = "true, false"

    def read(self, given: object) -> bool:
        """Return the flag. Raises ValueError."""
        if not isinstance(given, bool):
            raise ValueError(given)  # noqa: TRY004 - one exception for every wrong value
        return given


class Seconds:
    """A number of seconds."""

    can_be = "a number of seconds, 0 or more"

    def read(self, given: object) -> float:
        """Return the seconds. Raises ValueError."""
        if isinstance(given, bool) or not isinstance(given, int | float) or not isfinite(given) or given < 0:
            raise ValueError(given)
        return float(given)


class Yuan:
    """An amount of money."""

    can_be = "an amount in yuan, such as 0.01"

    def read(self, given: object) -> Decimal:
        """Return the yuan. Raises ValueError."""
        text = "" if isinstance(given, bool) else str(given)
        if not _YUAN.fullmatch(text):
            raise ValueError(given)
        return Decimal(text)


@dataclass(frozen=True, slots=True)
class Text:
    """A short text; `such_as` is an example."""

    such_as: str

    @property
    def can_be(self) -> str:
        """What the text is."""
        return f"a text of up to {_LONGEST_TEXT} characters, such as {self.such_as}"

    def read(self, given: object) -> str:
        """Return the text. Raises ValueError."""
        if not isinstance(given, str) or len(given) > _LONGEST_TEXT or not given.isprintable():
            raise ValueError(given)
        return given


class Charset:
    """A charset in which Python writes Chinese, or "" for the charset of the shop's call."""

    can_be = "a charset in which Python writes Chinese, such as gbk"

    def read(self, given: object) -> str:
        """Return the charset's name in Python. Raises ValueError."""
        if not isinstance(given, str):
            raise ValueError(given)  # noqa: TRY004 - one exception for every wrong value
        try:
            "支付".encode(given or "utf-8")
            return given and codecs.lookup(given).name
        except (LookupError, UnicodeError) as error:
            raise ValueError(given) from error


class Calls:
    """A list of the gateway's calls, with or without `alipay.trade.` before each."""

    can_be = f"a list of {', '.join(call.removeprefix(PREFIX) for call in CALLS)}"

    def read(self, given: object) -> tuple[str, ...]:
        """Return the full names of the calls. Raises ValueError."""
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list | tuple):
            raise ValueError(given)  # noqa: TRY004 - one exception for every wrong value
        calls = tuple(f"{PREFIX}{str(name).removeprefix(PREFIX)}" for name in names)
        if not set(calls) <= set(CALLS):
            raise ValueError(given)
        return calls
