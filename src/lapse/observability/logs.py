"""Events as structured logs, by structlog."""

import logging
import sys
from collections.abc import MutableMapping
from datetime import timedelta
from functools import partial
from io import StringIO
from typing import Any, TextIO

from lapse.engine.errors import LapseError, MissingLibrary
from lapse.engine.events import Event
from lapse.engine.visible import json_line, lines, one_line, takes_unicode, visible

try:
    import structlog
    from structlog.dev import ConsoleRenderer, plain_traceback
    from structlog.stdlib import ProcessorFormatter
except ModuleNotFoundError as missing:
    raise MissingLibrary("lapse.observability.logs", "logs") from missing

MILLISECOND = timedelta(milliseconds=1)


class LogHook:
    """A hook that logs each event as one record, whose event is the kind.

    The fields are `timer` and, if the event has them: `count` (of orders), `keys` (of the first few), `seconds` (that
    the work took), `reason`, and the error: the message of a LapseError, the traceback of any other. `earliest_ms`
    and `latest_ms` are the smallest and the greatest lateness of the event's claims, in milliseconds.

    The hook logs with structlog, as the process has configured it, for example with `configure`.
    """

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger("lapse")

    def __call__(self, event: Event, /) -> None:
        """Log the event."""
        fields: dict[str, Any] = {"timer": event.timer}
        if event.count:
            fields["count"] = event.count
        if event.keys:
            fields["keys"] = list(event.keys)
        for name, lateness in (("latest_ms", event.latest), ("earliest_ms", event.earliest)):
            if lateness is not None:
                fields[name] = round(lateness / MILLISECOND, 3)
        if event.seconds:
            fields["seconds"] = round(event.seconds, 6)
        if event.reason:
            fields["reason"] = event.reason
        if isinstance(event.error, LapseError):  # its message is enough
            fields["error"] = one_line(event.error)
        elif event.error is not None:
            fields["exc_info"] = event.error
        self._log.log(event.level, str(event.kind), **fields)


def configure(*, json: bool | None = None, level: int | str = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all logs of this process, structlog's and the standard library's alike, to one stream.

    If `json` is True, each record is one line of JSON; if False, a line for people. If None, it is JSON unless the
    stream is a terminal. `stream` is standard error by default. For programs, not for libraries.

    Unprintable characters are escaped, so no text that a stranger sent can colour, hide or forge a line. JSON is exact.
    """
    stream = stream or sys.stderr
    as_json = not stream.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    to_json = partial(json_line, ascii_only=not takes_unicode(stream))
    render: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(to_json)]
        if as_json
        # All fields but the event are written by `repr`, which escapes.
        else [
            _visible_event,
            ConsoleRenderer(colors=stream.isatty(), repr_native_str=True, exception_formatter=_traceback),
        ]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _visible_event(_: object, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record["event"] = visible(str(record.get("event", "")))
    return record


def _traceback(stream: TextIO, error: Any) -> None:  # noqa: ANN401 - structlog's signature
    """Write a traceback without colours and without the values of variables, which may be secrets."""
    text = StringIO()
    plain_traceback(text, error)
    stream.write(lines(text.getvalue()))
