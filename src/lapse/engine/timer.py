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
    """What a mechanism can and cannot promise: read by the worker, the tests and the docs alike."""

    mechanism: str
    durable: bool
    """Survives the loss of every process of the shop."""
    shared: bool
    """Several processes may claim from it at once."""
    can_disarm: bool
    """False where what was armed is not found again by its key: disarmed it fires all the same, moved or armed twice it
    fires each time (once, if due together), `only_unknown` may double it, and of claims only this handle's own end."""
    transactional: bool
    """Can be armed in the order's own transaction."""
    ordered: bool
    """Oldest first over all that is due; False where that holds within each of its parts only."""
    precision: timedelta
    """How far after its time a deadline may be handed out by a worker that is idle."""
    clock: str = "server"
    """Whose clock says what is due: the server's, or that of the host that claims."""
    exact_stats: bool = True
    """False where the server can only count: `claimed` is of this handle alone, figures may trail by a moment, and
    neither the oldest nor the next deadline is known, so both are None."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of one timer at one moment of its own clock.

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
    """One thing that was found about a timer's server, in a sentence; `fit` is False where it should be mended.

    `fix` mends it, where that can be done from here, and says what it did; it raises TimerError where it may not.
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
    * any → pending by `arm`, which moves it, ends any claim on it and counts attempts from nought;
    * any → unknown by `disarm`; buried → pending, due at once, by `revive`.

    All methods may be called from several threads. Each may be repeated after TimerUnavailable, which every one
    of them may raise; TimerRefused is final.
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

        No deadline is handed to two claimants while a lease on it lasts. When more are due than `limit`, up to a
        fifth of those returned (none where `limit` is below five) may be the ones that became due last, so that a
        backlog does not starve those due now; the others are the oldest. A claim that waits is woken when an
        earlier deadline is armed, by this process or another. Where the server has lost its memory meanwhile, it may
        return with nothing before `wait` is over, so that a worker looks at the generation at once.
        """
        ...

    def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
        """Let the leases run from now again. Returns, renewed, those that were still held."""
        ...

    def settle(self, claims: Sequence[Claim]) -> int:
        """Done: forget these. Returns how many were still held; the others are somebody else's by now."""
        ...

    def release(self, claims: Sequence[Claim], *, delay: timedelta = timedelta(0), forgive: bool = False) -> int:
        """Give back, to be handed out again after `delay`. With `forgive`, this attempt is not counted."""
        ...

    def bury(self, claims: Sequence[Claim], *, reason: str) -> int:
        """Give up on these until somebody looks. Returns how many were still held."""
        ...

    def buried(self, limit: int = 100) -> list[Buried]:
        """List what was given up on, the longest buried first."""
        ...

    def revive(self, keys: Iterable[str]) -> int:
        """Bring buried ones back, due at once, attempts counted from nought. Returns how many there were."""
        ...

    def stats(self) -> Stats:
        """Count. Cheap enough to be asked every second."""
        ...

    def generation(self) -> str:
        """Name the server's memory: it changes whenever the server may have lost deadlines.

        A worker that sees it change arms the unpaid orders again.
        """
        ...

    def check(self) -> list[Finding]:
        """Look at whether the server is fit for this timer, beyond what every call finds out by itself."""
        ...

    def wake(self) -> None:
        """Make the claim that waits here, or else the next that would wait, return at once. Signal-safe."""
        ...

    def close(self) -> None:
        """Give up connections and threads. Claims that are held run out."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TransactionalTimer(Timer, Protocol):
    """What a timer has besides whose traits say `transactional`: its deadlines are rows beside the orders.

    `connection` is the driver's own, or Django's or SQLAlchemy's around it, in the transaction of an order.
    """

    def arms_in(self, connection: Any) -> bool:  # noqa: ANN401 - of any driver
        """Whether `connection` writes to the very table that this timer claims from. Worth remembering.

        False means that the deadline has to be armed after the commit. May make the table, in a transaction of its
        own where the database does not take that back with the order's.
        """
        ...

    def arm_in(self, connection: Any, deadlines: Iterable[Deadline]) -> None:  # noqa: ANN401 - as above
        """Arm many in the transaction: rolled back and committed with it. Where it raises, roll back."""
        ...

    def disarm_in(self, connection: Any, keys: Iterable[str]) -> None:  # noqa: ANN401 - as above
        """Forget many in the transaction. Where it raises, roll back."""
        ...

    def is_beside(self, connection: Any) -> bool:  # noqa: ANN401 - as above
        """Whether `connection` is to the database that this timer's table is in, or would be. Makes nothing."""
        ...

    def schema(self, *, drop: bool = False) -> tuple[str, ...]:
        """Give the statements that make the table and harm none that is there, or those that remove it."""
        ...
