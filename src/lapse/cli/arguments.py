"""The arguments that commands share, and the output of JSON and of lengths of time."""

import logging
import sys
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from lapse import config
from lapse.engine.deadline import MILLISECOND
from lapse.engine.lengths import in_words
from lapse.engine.timer import Timer
from lapse.engine.visible import json_line, takes_unicode
from lapse.watch.ledger_name import ledger_name

VARIABLE = "LAPSE_TIMER"

Url = Annotated[
    str,
    typer.Argument(
        envvar=VARIABLE,
        metavar="URL",
        help="The timer, like redis://localhost:6379/0 or redis+expiry://localhost:6379/0.",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Option("--name", help="The name of the timer on that server.")]
OfPrefix = Annotated[
    str, typer.Option("--prefix", help="The timer of `lapse watch` for keys with this prefix, instead of --name.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]


def timer_name(name: str, prefix: str) -> str:
    """Return the timer's name: the ledger name of `prefix` if there is one, else `name`."""
    return ledger_name(prefix) if prefix else name


def open_timer(url: str, *, name: str) -> Timer:
    """Return the timer. Log a warning if other users can read its password."""
    warn_of_password(url)
    return config.open_timer(url, name=name)


def warn_of_password(url: str) -> None:
    """Log a warning if the command line has a password: every user of this machine can list it. Variables are safe."""
    try:
        shown = (urlsplit(url).password or "password=" in url) and url in sys.argv
    except ValueError:  # opening the timer reports what is wrong
        return
    if shown:
        logging.getLogger("lapse").warning(
            "every user who can list this machine's processes can read the password in the URL: put the URL into the "
            "variable %s and leave it out of the command",
            VARIABLE,
        )


def write_json(value: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write one line of exact JSON to standard output, at once."""
    sys.stdout.write(json_line(value, _plain, ascii_only=not takes_unicode(sys.stdout)) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> str | float:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"no JSON for {type(value).__name__}")


def span(length: timedelta) -> str:
    """Return a length of time as text for people."""
    return in_words(length / MILLISECOND)
