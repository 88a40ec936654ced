"""The shop's side of the work: a table of orders in an SQLite file, and its one conditional update.

Where a measurement asks for effects and not only for wake-ups, this is what is changed, and what is counted after a
crash. It is also what a worker arms again from.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lapse import Deadline

SCHEMA = """
PRAGMA journal_mode = wal;
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    due INTEGER NOT NULL,               -- ms since 1970
    handed INTEGER NOT NULL DEFAULT 0,  -- how often it was handed to a worker
    cancelled INTEGER                   -- ns since 1970
);
CREATE TABLE stock (returned INTEGER NOT NULL);
INSERT INTO stock VALUES (0);
"""
PART = 1000
"""Orders that are read and armed again at once."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Books:
    """What became of all orders. `longest` and the others are seconds after the deadline."""

    placed: int
    cancelled: int
    again: int
    """Orders that were handed out more than once."""
    doubled: int
    """Units of stock that came back more often than an order was cancelled."""
    longest: float
    earliest: float


class Orders:
    """One file of orders. Each process opens it for itself; one thread of it cancels."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._cancelling: sqlite3.Connection | None = None

    def place(self, due: Mapping[int, int]) -> None:
        """Make the tables with these orders: number and deadline in ms since 1970."""
        with self._open() as database, database:
            database.executescript(SCHEMA)
            database.executemany("INSERT INTO orders (id, due) VALUES (?, ?)", due.items())

    def cancel(self, numbers: Iterable[int]) -> None:
        """Cancel those that are not cancelled, and give back a unit of stock for each of these, in one transaction."""
        ids = [(number,) for number in numbers]
        if self._cancelling is None:  # kept: opening a file costs more than one order's update
            self._cancelling = self._connect()
        with self._cancelling as database:
            database.execute("BEGIN IMMEDIATE")
            database.executemany("UPDATE orders SET handed = handed + 1 WHERE id = ?", ids)
            now = time.time_ns()
            changed = database.executemany(
                "UPDATE orders SET cancelled = ? WHERE id = ? AND cancelled IS NULL", [(now, *one) for one in ids]
            ).rowcount
            database.execute("UPDATE stock SET returned = returned + ?", (changed,))

    def unpaid(self) -> Iterator[list[Deadline]]:
        """Yield the deadlines of all orders that are not cancelled, in parts, each read when the caller asks for it."""
        after = -(1 << 63)
        select = "SELECT id, due FROM orders WHERE cancelled IS NULL AND id > ? ORDER BY id LIMIT ?"
        with self._open() as database:
            while rows := database.execute(select, (after, PART)).fetchall():
                yield [Deadline(str(number), EPOCH + timedelta(milliseconds=due)) for number, due in rows]
                after = rows[-1][0]

    def left(self) -> int:
        """Return the number of orders that are not cancelled."""
        with self._open() as database:
            ((left,),) = database.execute("SELECT count(*) FROM orders WHERE cancelled IS NULL")
            return int(left)

    def books(self) -> Books:
        """Return what became of all orders."""
        with self._open() as database:
            ((placed, cancelled, again, longest, earliest),) = database.execute(
                "SELECT count(*), count(cancelled), count(*) FILTER (WHERE handed > 1), "
                "max(cancelled - due * 1000000), min(cancelled - due * 1000000) FROM orders"
            )
            ((returned,),) = database.execute("SELECT returned FROM stock")
        return Books(placed, cancelled, again, returned - cancelled, (longest or 0) / 1e9, (earliest or 0) / 1e9)

    def _open(self) -> "closing[sqlite3.Connection]":
        return closing(self._connect())

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.file, timeout=60, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA synchronous = off")  # the mechanism is measured, not this disk
        return database
