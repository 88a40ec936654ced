"""The table of effects that rehearsed workers write, and how to start one."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from lapse.testing.faults import ChildProcess
from tests.engine import rehearsed_worker


class Floor:
    """What the workers did: which orders were cancelled, how much stock came back, who was handed what."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "effects.sqlite"
        with closing(sqlite3.connect(self._file)) as database, database:
            database.execute("pragma journal_mode = wal")
            database.executescript(rehearsed_worker.SCHEMA)
            database.execute("insert into stock values (0)")

    def worker(self, url: str, **options: float | str) -> ChildProcess:
        """Start a worker on the timer of this address."""
        chosen = [f"--{name}={value}" for name, value in options.items()]
        return ChildProcess([sys.executable, rehearsed_worker.__file__, url, str(self._file), *chosen])

    def cancelled(self) -> int:
        """How many orders were cancelled."""
        return self._one("select count(*) from cancelled")

    def stock(self) -> int:
        """How many units came back."""
        return self._one("select units from stock")

    def attempts(self) -> int:
        """How often some order was handed out, at the most."""
        return self._one("select max(attempt) from handed")

    def _one(self, query: str) -> int:
        with closing(sqlite3.connect(self._file, timeout=60)) as database:
            (value,) = database.execute(query).fetchone()
            return int(value)
