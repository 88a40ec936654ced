"""What a process writes down while it is measured: pairs of a number and a moment, which outlive its own SIGKILL."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from struct import Struct

PAIR = Struct("<qq")
"""An order's number, or how many there were; and when, in nanoseconds since 1970 by the host's clock."""


class Notes:
    """Appends pairs to a file. One call is one write to the kernel, so a killed process leaves whole pairs."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def each(self, numbers: Iterable[int]) -> None:
        """Note that these were handed over now."""
        now = time.time_ns()
        os.write(self._file, b"".join(PAIR.pack(number, now) for number in numbers))

    def count(self, many: int) -> None:
        """Note that so many were handed over now."""
        os.write(self._file, PAIR.pack(many, time.time_ns()))


def noted(file: Path) -> list[tuple[int, int]]:
    """Return all pairs so far, none where there is no file yet."""
    return list(PAIR.iter_unpack(file.read_bytes())) if file.exists() else []


def pairs_in(file: Path) -> int:
    """Return the number of pairs so far."""
    return file.stat().st_size // PAIR.size if file.exists() else 0
