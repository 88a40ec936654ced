"""The interface of an SQL timer's database: the driver, its errors, its location, and how to wake waiting claims.

A dialect has these files, for example SQLite:

* `sqlite.py`: the mechanism's module, with TRAITS, a `Database`, and `open_from_url`
* `sqlite_address.py`: URLs and connections
* `sqlite_errors.py`: the driver's errors, translated
* `sqlite_watch.py`: wakes waiting claims when another connection has armed a deadline
* `dialects/sqlite.sql`: the named statements

To add a dialect, copy these five files and add the URL schemes to `lapse.config`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lapse.engine.timer import Finding, Traits
from lapse.engine.waker import Waker

Row = Sequence[Any]
Parameters = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Location:
    """The database of a connection and the timers' table in it, in the server's words.

    Two locations read at about the same time can be compared. `table` is None if the table is missing or the
    connection's user may not write to it.
    """

    database: str
    table: str | None


class Database(Protocol):
    """One database. Every method may be called from several threads, and raises only Lapse's errors."""

    traits: Traits
    dialect: str
    """The name of the file with the dialect's statements."""

    def read(self, name: str, parameters: Parameters) -> list[Row]:
        """Run a named statement that changes nothing. Return its rows."""

    def write(self, name: str, parameters: Parameters) -> list[Row]:
        """Run the named statements in one new transaction. Return the rows of the last statement."""

    def write_in(self, connection: Any, name: str, parameters: Parameters) -> None:  # noqa: ANN401 - the driver's, or a wrapper
        """Run the named statements in the current transaction of `connection`."""

    def location(self, *, make: bool) -> Location:
        """Return the location of this timer's table. With `make` a missing table is created."""

    def location_of(self, connection: Any) -> Location | None:  # noqa: ANN401 - as above
        """Return the location of `connection`; None for another driver. The connection stays in its transaction."""

    def watch(self, timer: str, waker: Waker) -> None:
        """From now on, wake `waker` whenever a deadline of the timer may have been armed. A repeated call is cheap."""

    def findings(self) -> list[Finding]:
        """Return findings on whether the database keeps deadlines."""

    def close(self) -> None:
        """Close connections and stop threads."""
