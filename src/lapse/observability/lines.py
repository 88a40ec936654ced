"""The lines of a log for people, by the standard library's logging."""

import logging
from typing import Any

from lapse.engine.visible import lines, visible


class VisibleFormatter(logging.Formatter):
    """Formats a record as one line, and its traceback below. Unprintable characters are escaped.

    So no text that a stranger sent can colour, hide or forge a line.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        """Return the line."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802, ANN401 - the standard library's signature
        """Return the traceback."""
        return lines(super().formatException(ei))
