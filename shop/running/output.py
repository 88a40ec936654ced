"""One terminal for several programs: each line names its program, and JSON lines are made readable."""

import json
import os
import sys
import threading
from datetime import datetime

WIDTH = 8
COLOURS = {"web": "36", "worker": "35", "setup": "33", "cashier": "34"}
LEVELS = {"warning": "33", "error": "31", "critical": "31"}
_writing = threading.Lock()


def say(text: str, *, error: bool = False) -> None:
    """Print at once. A closed terminal is no reason to stop, because its SIGHUP stops the run."""
    stream = sys.stderr if error else sys.stdout
    with _writing:
        try:
            print(text, file=stream, flush=True)
        except OSError:  # a broken pipe, or a terminal that was closed
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)


def relay(name: str, line: str) -> None:
    """Print one line of a program's output."""
    say(f"{_paint(f'{name:<{WIDTH}}', COLOURS.get(name))}{readable(line)}")


def readable(line: str) -> str:
    """Return a line of JSON, which the shop logs if there is no terminal, as a line for people."""
    if not line.startswith("{"):
        return line
    try:
        record = json.loads(line)
        text = str(record.pop("event"))
    except (ValueError, KeyError):
        return line
    level = str(record.pop("level", ""))
    moment = _moment(str(record.pop("timestamp", "")))
    record.pop("logger", None)
    trace = record.pop("exception", None)
    fields = " ".join(f"{name}={value}" for name, value in record.items())
    shown = " ".join(part for part in (moment, _paint(level.upper(), LEVELS.get(level)), text, fields) if part)
    return f"{shown}\n{trace}" if trace else shown


def _moment(stamp: str) -> str:
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return stamp


def _paint(text: str, colour: str | None) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and sys.stdout.isatty() else text
