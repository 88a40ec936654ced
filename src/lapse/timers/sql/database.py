"""What an SQL timer needs of its database: the driver, its errors, where it is, and how its sleepers are woken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lapse.engine.timer import Finding, Traits
from lapse.engine.waker import Waker

Row = Sequence[Any]
Parameters = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Place:
    """What a connection's server says of where it is: answers of the same moment can be compared.

    `database` names the database, `table` the timers' table in it, None where that is missing or may not be written
    by whoever asks.
    """

    database: str
    table: str | None


class Database(Protocol):
    """One database. Every method may be called from several threads, and raises the timer's errors only."""

    traits: Traits
    dialect: str
    """The name of its file of statements."""

    def read(self, name: str, parameters: Parameters) -> list[Row]:
        """Run a named statement that changes nothing."""

    def write(self, name: str, parameters: Parameters) -> list[Row]:
        """Run the named statements in one transaction of their own. Returns the rows of the last."""

    def write_in(self, connection: Any, name: str, parameters: Parameters) -> None:  # noqa: ANN401 - the driver's, or what wraps it
        """Run the named statements in the transaction that `connection` is in."""

    def place(self, *, make: bool) -> Place:
        """Say where the table is. With `make` it is made where it is missing; without, nothing is."""

    def place_of(self, connection: Any) -> Place | None:  # noqa: ANN401 - as above
        """Say where `connection` is; None where it is of another driver. It stays in its transaction."""

    def watch(self, timer: str, waker: Waker) -> None:
        """Wake it from now on whenever a deadline of the timer may have been armed. Quick where it does so already."""

    def findings(self) -> list[Finding]:
        """Look at whether deadlines are kept."""

    def close(self) -> None:
        """Give up connections and threads."""
