"""The contract of every timer. The mechanisms in `lapse/timers/` implement it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from lapse.engine.deadline import Buried, Claim, Deadline

LEASE = timedelta(seconds=10)
"""How long a claim is held unless it is renewed. A crash makes an order late by two leases at most."""

FRESH_SHARE = 5
"""If more deadlines are due than one claim takes, one in this many is taken from the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a mechanism can and cannot promise. The worker, the tests and the docs read the traits."""

    mechanism: str
    durable: bool
    """Survives the loss of every process of the shop."""
    shared: bool
    """Several processes may claim from it at once."""
    can_disarm: bool
    """False if the server cannot find an armed deadline by its key. Then a disarmed deadline still fires. A deadline
    that was moved, or armed twice, fires each time, or once if both times are due together. `only_unknown` may arm a
    deadline a second time. Arming ends only the claims made through this timer object."""
    transactional: bool
    """Can be armed in the order's own transaction."""
    ordered: bool
    """Claims return the oldest of all due deadlines first. False if that holds only within each shard or queue."""
    precision: timedelta
    """How late, at most, an idle worker gets a due deadline."""
    clock: str = "server"
    """Which clock decides that a deadline is due: the server's, or that of the host that claims."""
    exact_stats: bool = True
    """False if the server can only count. Then `claimed` counts this timer object's claims only, and counts may be a
    moment old. The oldest and the next deadline are unknown, so both are None."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of one timer at one moment of its own clock.

    `pending` counts every armed deadline that is not claimed; `due` of them are due now. `oldest_due` is the earliest
    due deadline, `next_due` the earliest deadline that is not yet due.
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
    """One result of checking a timer's server, in one sentence. `fit` is False if the operator should fix it.

    `checked` is False if it could not be looked at: the sentence says what, and why. Then `fit` is True, because the
    server may well be fit.

    `fix` is set if Lapse can fix it: it does so and returns what it did. It raises TimerError if it lacks permission.
    """

    fit: bool
    text: str
    fix: Callable[[], str] | None = field(default=None, repr=False, compare=False)
    checked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerNames:
    """Whether a server has a timer of the asked name, and if not, which other names it has.

    With `complete` False, a large server was searched only in part. `not_listed` is why the server cannot list the
    other names, and "" if it can.
    """

    known: bool
    others: tuple[str, ...] = ()
    complete: bool = True
    not_listed: str = ""


@runtime_checkable
class ListsNames(Protocol):
    """A timer whose server can list the names of its timers."""

    def names(self) -> TimerNames:
        """Return whether this timer has stored anything on the server, and if not, which others have. Read-only."""
        ...


class Timer(Protocol):
    """Takes deadlines and hands them out when they are due. It only wakes workers: the order's row is the truth.

    A deadline is in one of four states: *pending*, *claimed*, *buried*, or unknown. By the timer's own clock:

    * pending → claimed by `claim`, once its time has come, never before;
    * claimed → pending again as soon as its lease ends, and due since its original time;
    * claimed → unknown by `settle`, → pending by `release`, → buried by `bury`: only by the holder of its token;
    * any → pending by `arm`, which moves it, ends any claim on it and resets attempts to 0;
    * any → unknown by `disarm`; buried → pending, due at once, by `revive`.

    All methods may be called from several threads. Every method may raise TimerUnavailable, and may be repeated then.
    TimerRefused is final.
    """

    name: str
    traits: Traits

    def arm(self, deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        """Arm many deadlines at once; arming a key again moves it. If a key occurs twice, its last deadline counts.

        With `only_unknown`, keys that are pending, claimed or buried stay as they are. So this restores the deadlines
        that a server has lost, and changes no other deadline.
        """
        ...

    def disarm(self, keys: Iterable[str]) -> None:
        """Forget many deadlines at once. Unknown keys are ignored."""
        ...

    def claim(self, limit: int = 500, *, wait: timedelta = timedelta(0), lease: timedelta = LEASE) -> list[Claim]:
        """Claim and return up to `limit` due deadlines, oldest first. Block until one is due or `wait` is over.

        No deadline is handed to two claimants while a lease on it lasts. If more deadlines are due than a `limit` of 5
        or more, up to a fifth of the claims may be on the newest. So a backlog does not delay new deadlines without
        end.

        A waiting claim wakes when this or another process arms an earlier deadline. If the server has lost its
        deadlines, the claim may return an empty list before `wait` is over. Then the worker reads the generation at
        once.
        """
        ...

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Restart the leases now. Return the renewed claims, without those whose lease had already ended."""
        ...

    def settle(self, claims: Sequence[Claim]) -> int:
        """Forget these deadlines: their work is done. Return how many claims were still held; the rest were lost."""
        ...

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Release the claims, to be handed out again after `delay`. With `forgive`, this attempt is not counted.

        Return how many claims were still held.
        """
        ...

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Set these deadlines aside until an operator revives them. Return how many claims were still held."""
        ...

    def buried(self, limit: int = 100) -> list[Buried]:
        """Return the buried deadlines, the longest buried first."""
        ...

    def revive(self, keys: Iterable[str]) -> int:
        """Make buried deadlines due at once, with attempts reset to 0. Return how many of the keys were buried."""
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
        """Check whether the server fits this timer, beyond the checks of every call. Return the findings."""
        ...

    def wake(self) -> None:
        """Make this object's waiting claim return at once; if none waits, the next one that would. Signal-safe."""
        ...

    def close(self) -> None:
        """Close connections and end threads. Leases still held run out."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TransactionalTimer(Timer, Protocol):
    """A timer whose traits say `transactional`: its deadlines are rows in the orders' database.

    `connection` is the driver's connection, or Django's or SQLAlchemy's wrapper of one, in the order's transaction.
    """

    def arms_in(self, connection: Any) -> bool:  # noqa: ANN401 - of any driver
        """Return True if `connection` writes to the table that this timer claims from. Callers may cache the result.

        If False, arm the deadline after the commit instead. This may create the table. If the database cannot roll that
        back with the order's transaction, the table is created in a separate transaction.
        """
        ...

    def arm_in(self, connection: Any, deadlines: Iterable[Deadline]) -> None:  # noqa: ANN401 - as above
        """Arm many deadlines in the connection's transaction. If this raises, roll the transaction back."""
        ...

    def disarm_in(self, connection: Any, keys: Iterable[str]) -> None:  # noqa: ANN401 - as above
        """Forget many deadlines in the connection's transaction. If this raises, roll the transaction back."""
        ...

    def is_beside(self, connection: Any) -> bool:  # noqa: ANN401 - as above
        """Return True if `connection` is to the database that has, or would have, this timer's table. Read-only."""
        ...

    def schema(self, *, drop: bool = False) -> tuple[str, ...]:
        """Return the statements that create the table if it is missing, or with `drop` those that remove it."""
        ...
