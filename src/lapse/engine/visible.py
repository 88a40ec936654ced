r"""Shows as plain text what an operator typed or a stranger sent: on a terminal, in a log, on a page.

Keys, reasons and answers may contain anything: colours of a terminal, line ends that look like a further line of the
log, characters that reverse the text. Every character that is not printable is written as Python writes it in a string:
`\n`, `\x1b`, `\u202e`.
"""

import json
import logging
import re
import traceback
from collections.abc import Callable
from typing import Any, TextIO

MOST_REASON = 1000
"""The largest number of characters of a reason that is stored with a buried deadline."""

_ESCAPED = re.compile(r"\\(?:[\\nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_EDGES = re.compile(r"^ +| +$")


def visible(text: str, most: int | None = None) -> str:
    """Return the text with its unprintable characters escaped, and cut to `most` characters, with `…` at the end.

    A text that is visible already stays as it is. It has no line end, so it is one line.
    """
    if most is not None and len(text) > most:
        text = text[:most] + "…"
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def visible_key(key: str) -> str:
    """Return the key as it is shown, so that a person can copy it: whole, and different for different keys.

    `key_from` returns the key again. Also a backslash, and a space at either end, are escaped.
    """
    return visible(_EDGES.sub(lambda spaces: "\\x20" * len(spaces[0]), key.replace("\\", "\\\\")))


def key_from(shown: str) -> str:
    """Return the key that is shown as this text. A key without a backslash is shown as it is, or nearly so."""
    return _ESCAPED.sub(lambda escape: escape[0].encode("ascii").decode("unicode_escape"), shown)


def one_line(message: object) -> str:
    """Return the message, such as an exception, as one visible line. Drivers write several lines."""
    return visible(" ".join(str(message).split()))


def lines(text: str) -> str:
    """Return a text of several lines, such as a traceback, with each line made visible."""
    return "\n".join(visible(line.replace("\t", "    ")) for line in text.split("\n"))


def json_line(value: object, default: Callable[[Any], Any] | None = None, *, ascii_only: bool = False) -> str:
    """Return exact JSON in one line. Unprintable characters are escaped as JSON escapes them.

    `default` is that of `json.dumps`. With `ascii_only`, all other characters but those of ASCII are escaped as well.
    """
    text = json.dumps(value, default=default, ensure_ascii=ascii_only)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


class VisibleRecords(logging.Filter):
    """A filter for a logger: messages, their arguments and tracebacks are text, in each handler that an adopter has."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True: every record is logged."""
        if isinstance(record.msg, str) and not record.args:  # structlog logs a dictionary
            record.msg = visible(record.msg)
        elif isinstance(record.args, tuple):
            record.args = tuple(_visible_argument(argument) for argument in record.args)
        if record.exc_info and not record.exc_text:
            record.exc_text = lines("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return True


def _visible_argument(argument: object) -> object:
    if isinstance(argument, BaseException):
        return one_line(argument)
    return visible(argument) if isinstance(argument, str) else argument


def takes_unicode(stream: TextIO) -> bool:
    """Return whether every character can be written to the stream. An unusual locale may permit only ASCII."""
    return "utf" in (stream.encoding or "utf-8").lower()


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
