"""Events become structured records, for machines and for people."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog

from lapse import Event, Kind
from lapse.observability.logs import LogHook, configure


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    """Restore the logging of the process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def logged(*events: Event, level: str = "INFO") -> list[dict[str, Any]]:
    """Log the events as JSON and return the records."""
    stream = io.StringIO()
    configure(level=level, stream=stream)
    hook = LogHook()
    for event in events:
        hook(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_handled_says_how_many_how_late_how_long() -> None:
    """A batch is one record of information with its figures in named units."""
    (record,) = logged(
        Event(
            kind=Kind.HANDLED,
            timer="orders",
            count=3,
            keys=("a", "ü"),
            seconds=0.25,
            lateness=(timedelta(milliseconds=12), timedelta(microseconds=400)),
        )
    )
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "event": "batch handled",
        "level": "info",
        "timer": "orders",
        "count": 3,
        "keys": ["a", "ü"],
        "seconds": 0.25,
        "earliest_ms": 0.4,
        "latest_ms": 12.0,
    }


def test_levels() -> None:
    """A timer that is away and a burial are errors; that it is back is information; a release is detail."""
    records = logged(*(Event(kind=kind, timer="orders") for kind in Kind))
    by_kind = {record["event"]: record["level"] for record in records}
    assert by_kind["timer away"] == by_kind["claims buried"] == "error"
    assert by_kind["timer back"] == by_kind["batch handled"] == "info"
    assert by_kind == {kind: logging.getLevelName(Event(kind=kind, timer="orders").level).lower() for kind in by_kind}
    assert by_kind["handler failed"] == by_kind["lease lost"] == "warning"
    assert "claims released" not in by_kind
    assert logged(Event(kind=Kind.RELEASED, timer="orders"), level="DEBUG")


def test_errors_come_with_their_traceback() -> None:
    """What a handler raised is in the record."""
    try:
        int("no such order")
    except ValueError as error:
        (record,) = logged(Event(kind=Kind.FAILED, timer="orders", keys=("a",), reason="tried again", error=error))
    assert record["reason"] == "tried again"
    assert "ValueError: invalid literal" in record["exception"]


def test_the_standard_logger_is_rendered_alike() -> None:
    """What the rest of the process logs, with arguments, comes in the same form."""
    stream = io.StringIO()
    configure(json=True, stream=stream)
    logging.getLogger("lapse").error("no gateway named %r", "alipay")
    record = json.loads(stream.getvalue())
    assert (record["event"], record["level"]) == ("no gateway named 'alipay'", "error")


def test_people_get_lines() -> None:
    """Without JSON a record is one readable line, without colours where there is no terminal."""
    stream = io.StringIO()
    configure(json=False, stream=stream)
    LogHook()(Event(kind=Kind.TIMER_LOST, timer="orders", reason="connection refused"))
    assert "timer away" in stream.getvalue()
    assert "reason='connection refused'" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
