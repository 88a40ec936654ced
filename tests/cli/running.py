"""The command `lapse` in the process of the test: a start of its own would take longer than what most tests look at."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from unittest import mock

import structlog

from lapse.cli import main


def run_here(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, with no other setting of Lapse than these variables, and return what it did."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPSE_")}
    output = TextIOWrapper(BytesIO(), "utf-8", write_through=True)
    errors = TextIOWrapper(BytesIO(), "utf-8", "backslashreplace", write_through=True)
    with (
        mock.patch.dict(os.environ, {**kept, "COLUMNS": "120", **variables}, clear=True),
        mock.patch.multiple(sys, argv=["lapse", *words], path=list(sys.path), stdout=output, stderr=errors),
        _own_logging(),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    written = [stream.buffer.getvalue().decode() for stream in (output, errors)]
    return subprocess.CompletedProcess(words, code, *written)


@contextmanager
def _own_logging() -> Iterator[None]:
    """Begin without a handler, as a new process does, and take back what the command configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
