"""One order whose attempts are being closed, and those on whose behalf."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lapse.orders.gateway import Attempt, ClosingGateway, Ruling, Verdict
from lapse.orders.isolate import Isolated
from lapse.orders.port import Orders

Done = Callable[[Isolated], None]
"""Receives what became of orders in the background: results and errors by key. Called in a gateway's thread."""


@dataclass(frozen=True, slots=True)
class Closer:
    """On whose behalf attempts are closed: what runs step three, and who wants to know.

    `orders` runs step three. `gateways` has the gateways by name. Closers of one `scope` share orders: a key names the
    same order. `cause` is equal for closers of which one is enough. `done` receives what became of the orders that the
    caller did not wait for.
    """

    orders: Orders
    gateways: Mapping[str, ClosingGateway]
    scope: str = ""
    cause: Hashable = None
    done: Done | None = None


@dataclass(eq=False, slots=True)
class Passenger:
    """One closer of one flight. If it `waits`, its own thread runs step three."""

    closer: Closer
    waits: bool


@dataclass(eq=False, slots=True)
class Flight:
    """One order whose attempts are being closed, with the rulings that came so far."""

    scope: str
    key: str
    attempts: Sequence[Attempt]
    rulings: list[Ruling] = field(default_factory=list)
    passengers: list[Passenger] = field(default_factory=list)
    asked: bool = False
    """Whether any gateway was called. A circuit that is open, or a full queue, calls none."""

    @property
    def complete(self) -> bool:
        """Whether every attempt has its ruling."""
        return len(self.rulings) == len(self.attempts)

    @property
    def ready(self) -> bool:
        """Whether step three can decide: every ruling is there, or one of them is PAID."""
        return self.complete or is_paid(self.rulings)

    def board(self, closer: Closer, *, waits: bool) -> Passenger:
        """Add the closer and return its passenger. It replaces an equal one that does not wait."""
        self.passengers = [each for each in self.passengers if each.waits or each.closer.cause != closer.cause]
        self.passengers.append(passenger := Passenger(closer, waits))
        return passenger

    def leave_to_background(self, passenger: Passenger) -> None:
        """Let the gateway's thread run step three for this closer, unless it will do so for an equal one."""
        passenger.waits = False
        equal = [each for each in self.passengers if not each.waits and each.closer.cause == passenger.closer.cause]
        if len(equal) > 1:
            self.passengers.remove(passenger)


def is_paid(rulings: Iterable[Ruling]) -> bool:
    """Return whether a ruling says that the buyer has paid."""
    return any(ruling.verdict is Verdict.PAID for ruling in rulings)
