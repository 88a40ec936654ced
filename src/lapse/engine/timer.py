"""The contract of every timer. Each file in `lapse/timers/` is one mechanism that keeps it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self

from lapse.engine.deadline import Buried, Claim, Deadline

LEASE = timedelta(seconds=10)
"""How long a claim is held unless it is renewed. Two leases bound how late a crash can make an order."""

FRESH_SHARE = 5
"""Of a backlog larger than the claim, one in this many is taken from its young end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a mechanism can and cannot promise. The worker, the tests and the docs read it."""

    mechanism: str
    durable: bool
    """Survives the loss of every process of the shop."""
    shared: bool
    """Several processes may claim from it at once."""
    can_disarm: bool
    """False where an armed deadline cannot be found by its key. Then a disarmed deadline fires all the same. A deadline
    that was moved, or armed twice, fires each time, or once if both are due together. `only_unknown` may double a
    deadline, and arming ends only the claims of this handle."""
    transactional: bool
    """Can be armed in the order's own transaction."""
    ordered: bool
    """Oldest first over all that is due; False where that holds within each of its parts only."""
    precision: timedelta
    """How far after its time a deadline may be handed out by a worker that is idle."""
    clock: str = "server"
    """Whose clock says what is due: the server's, or that of the host that claims."""
    exact_stats: bool = True
    """False where the server can only count. Then `claimed` is of this handle alone, and counts may trail by a moment.
    The oldest and the next deadline are unknown, so both are None."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of one timer at one moment of its own clock.

    `pending` counts every armed deadline that is not claimed, of which `due` are due now. `oldest_due` is the
    earliest of the due ones, `next_due` the earliest that is not yet due.
    """

    pending: int
    due: int
    claimed: int
    buried: int
    oldest_due: datetime | None
    next_due: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found about a timer's server, in a sentence; `fit` is False where it should be fixed.

    `fix` fixes it, where that can be done from here, and returns what it did. It raises TimerError where it may not.
    """

    fit: bool
    text: str
    fix: Callable[[], str] | None = field(default=None, repr=False, compare=False)


class Timer(Protocol):
    """Deadlines in, due deadlines out. A wake-up and no more: the order's own row is the truth.

    A deadline is in one of four states: *pending*, *claimed*, *buried*, or unknown. By the timer's own clock:

    * pending → claimed by `claim`, once its time has come, never before;
    * claimed → pending again when its lease ends, at once, still as old as it was;
    * claimed → unknown by `settle`, → pending by `release`, → buried by `bury`: only by the holder of its token;
    * any → pending by `arm`, which moves it, ends any claim on it and resets attempts to 0;
    * any → unknown by `disarm`; buried → pending, due at once, by `revive`.

    All methods may be called from several threads. Every method may raise TimerUnavailable, and may be repeated then.
    TimerRefused is final.
    """

    name: str
    traits: Traits

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many at once; arming a key again moves it. With the same key twice, the last one counts.

        With `only_unknown`, keys that are pending, claimed or buried stay as they are: this restores what a server
        has lost and disturbs nothing else.
        """
        ...

    def disarm(self, keys: Iterable[str]) -> None:
        """Forget many at once; unknown keys are fine."""
        ...

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Take up to `limit` due deadlines under a lease, oldest first; block until some are due or `wait` is over.

        No deadline is handed to two claimants while a lease on it lasts. The claims are on the oldest deadlines. Where
        more are due than `limit`, which is five or more, a fifth at most may be on the newest. So a backlog does not
        starve the newest.

        A claim that waits is woken when an earlier deadline is armed, by this process or another. It may return nothing
        before `wait` is over where the server has lost its deadlines, so that a worker reads the generation at once.
        """
        ...

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Let the leases begin again now. Return the renewed claims; those whose lease had ended are missing."""
        ...

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget these: they are done. Return how many were still held; other claimants may hold the rest by now."""
        ...

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Release the claims, to be handed out again after `delay`. With `forgive`, this attempt is not counted.

        Return how many were still held.
        """
        ...

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Set these aside, not to be tried until an operator revives them. Return how many were still held."""
        ...

    def buried(self, limit: int = 100) -> list[Buried]:
        """Return what is buried, the longest buried first."""
        ...

    def revive(self, keys: Iterable[str]) -> int:
        """Bring buried deadlines back, due at once, with attempts reset to 0. Return how many were buried."""
        ...

    def stats(self) -> Stats:
        """Return the counts. Cheap enough to be called every second."""
        ...

    def generation(self) -> str:
        """Return the generation: a name that changes whenever the server may have lost deadlines.

        A worker that sees the generation change arms the unpaid orders again.
        """
        ...

    def check(self) -> list[Finding]:
        """Return what is found about the server's fitness for this timer, beyond what every call checks itself."""
        ...

    def wake(self) -> None:
        """Make the claim that waits here, or else the next that would wait, return at once. Signal-safe."""
        ...

    def close(self) -> None:
        """Close connections and end threads. The leases that are held run out."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TransactionalTimer(Timer, Protocol):
    """The further methods of a timer whose traits say `transactional`: its deadlines are rows beside the orders.

    `connection` is the driver's own, or Django's or SQLAlchemy's around it, in the transaction of an order.
    """

    def arms_in(self, connection: Any) -> bool:  # noqa: ANN401 - of any driver
        """Return whether `connection` writes to the very table that this timer claims from. Worth remembering.

        False means that the deadline has to be armed after the commit. This may make the table; where the database
        does not roll that back with the order's transaction, the table is made in a transaction of its own.
        """
        ...

    def arm_in(self, connection: Any, deadlines: Iterable[Deadline]) -> None:  # noqa: ANN401 - as above
        """Arm many in the transaction: rolled back and committed with it. Where it raises, roll back."""
        ...

    def disarm_in(self, connection: Any, keys: Iterable[str]) -> None:  # noqa: ANN401 - as above
        """Forget many in the transaction. Where it raises, roll back."""
        ...

    def is_beside(self, connection: Any) -> bool:  # noqa: ANN401 - as above
        """Return whether `connection` is to the database that has this timer's table, or would have. Makes nothing."""
        ...

    def schema(self, *, drop: bool = False) -> tuple[str, ...]:
        """Return the statements that make the table unless it exists, or with `drop` those that remove it."""
        ...
