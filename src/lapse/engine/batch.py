"""One batch through the handler: halved until the bad order is found, then settled, released or buried."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim, Deadline
from lapse.engine.decision import Bury, Decision, Move, Release, Settle
from lapse.engine.errors import TimerUnavailable, TryLater
from lapse.engine.events import Event, Kind
from lapse.engine.leases import LeaseKeeper
from lapse.engine.timer import Timer

ALONE_FROM = 4
"""From this attempt on, a claim is handled alone: it may be what broke the batches that it was in."""

SETTLE = Settle()
"""What becomes of a claim that the handler does not speak of."""

NAMED = 5
"""How many keys an event names."""


class Batch:
    """Takes batches of claims through the handler and tells the timer what became of each claim."""

    def __init__(
        self,
        timer: Timer,
        handler: Callable[[list[Claim]], Mapping[str, Decision] | None],
        leases: LeaseKeeper,
        *,
        backoff: Backoff,
        max_attempts: int,
        emit: Callable[[Event], None],
    ) -> None:
        self._timer = timer
        self._handler = handler
        self._leases = leases
        self._backoff = backoff
        self._max_attempts = max_attempts
        self._emit = emit
        self._stopping = False

    def stop(self) -> None:
        """Halve no further; give back what has not been tried."""
        self._stopping = True

    def handle(self, claims: list[Claim]) -> None:
        """Handle every claim, whatever some of them do. Raises TryLater, with all given back, if the handler does.

        A claim that was handed out several times and never answered may be what kills the process that handles it. Of
        such suspects one is tried, alone and after the others; the rest are given back, so that a death counts for
        that one only. It is buried when it was tried too often.
        """
        others = [claim for claim in claims if claim.attempt < ALONE_FROM]
        suspects = [claim for claim in claims if ALONE_FROM <= claim.attempt <= self._max_attempts]
        dead = [claim for claim in claims if claim.attempt > max(self._max_attempts, ALONE_FROM - 1)]
        self._leases.hold(claims)
        try:
            if rest := suspects[1:]:
                self._decide(rest, dict.fromkeys(_keys(rest), Release(timedelta(0), forgive=True)))
            if dead:
                self._decide(dead, dict.fromkeys(_keys(dead), Bury("handed out too often, and never heard of again")))
            self._try([suspects[:1], others])
        finally:
            self._leases.hold(())

    def _try(self, parts: list[list[Claim]]) -> None:
        """Handle these parts, the last one first, in halves if need be. What is in `parts` has not been tried."""
        while parts:
            part = self._leases.still_held(parts.pop())
            if not part:
                continue
            begun = SYSTEM_CLOCK.monotonic()
            try:
                decisions = _checked(part, self._handler(list(part)) or {})
            except TryLater as error:
                delay = self._backoff.delay(1) if error.after is None else error.after
                rest = [claim for untried in parts for claim in untried]
                self._decide(part + rest, dict.fromkeys(_keys(part + rest), Release(delay, forgive=True)))
                self._report(Kind.RELEASED, part + rest, reason=str(error) or "try later")
                raise
            except Exception as error:  # noqa: BLE001 - any bug of a handler may be one order's fault
                parts.extend(self._after_failure(part, error))
            else:
                self._decide(part, decisions)
                self._report_handled(part, SYSTEM_CLOCK.monotonic() - begun)

    def _after_failure(self, part: list[Claim], error: Exception) -> list[list[Claim]]:
        """Halve the part; or, if it is one claim, let it wait or bury it. Returns what to try next, last first."""
        self._report(Kind.FAILED, part, error=error)
        if len(part) == 1:
            reason = f"{type(error).__name__}: {error}"
            self._decide(part, {part[0].key: Release(reason=reason)})
            return []
        if self._stopping:
            self._decide(part, dict.fromkeys(_keys(part), Release(timedelta(0), forgive=True)))
            return []
        middle = len(part) // 2
        return [part[middle:], part[:middle]]

    def _decide(self, claims: Sequence[Claim], decisions: Mapping[str, Decision]) -> None:
        """Tell the timer. If it cannot be reached, the leases end and the orders are handed out again: no harm."""
        alike: dict[Decision, list[Claim]] = defaultdict(list)
        if decisions:
            for claim in claims:
                alike[self._final(claim, decisions.get(claim.key, SETTLE))].append(claim)
        else:  # by far the most frequent: no reason to look at each
            alike[SETTLE] = list(claims)
        self._leases.let_go(claims)  # before the timer forgets them, or a renewal in between would call them lost
        try:
            for decision, some in alike.items():
                self._tell(decision, some)
        except TimerUnavailable as error:
            self._report(Kind.FAILED, claims, reason=f"not settled, so these will be handed out again: {error}")

    def _final(self, claim: Claim, decision: Decision) -> Decision:
        """Fill in what the handler left open; what was released too often is buried."""
        match decision:
            case Release(_, False, reason) if claim.attempt >= self._max_attempts:
                return Bury(reason or f"released {claim.attempt} times")
            case Release(None, forgive, _):
                return Release(self._backoff.delay(claim.attempt), forgive=forgive)
            case Release(delay, forgive, _):
                return Release(delay, forgive=forgive)
            case _:
                return decision

    def _tell(self, decision: Decision, claims: list[Claim]) -> None:
        match decision:
            case Settle():
                self._timer.settle(claims)
            case Move(due_at):
                self._timer.arm([Deadline(claim.key, due_at) for claim in claims])
            case Release(delay, forgive, _):
                self._timer.release(claims, delay=delay or timedelta(0), forgive=forgive)
            case Bury(reason):
                self._timer.bury(claims, reason=reason)
                self._report(Kind.BURIED, claims, reason=reason)

    def _report_handled(self, claims: Sequence[Claim], seconds: float) -> None:
        lateness = [claim.late_by for claim in claims]
        self._report(Kind.HANDLED, claims, seconds=seconds, earliest=min(lateness), latest=max(lateness))

    def _report(
        self,
        kind: Kind,
        claims: Sequence[Claim],
        *,
        seconds: float = 0.0,
        earliest: timedelta | None = None,
        latest: timedelta | None = None,
        reason: str = "",
        error: BaseException | None = None,
    ) -> None:
        self._emit(
            Event(
                kind=kind,
                timer=self._timer.name,
                count=len(claims),
                keys=tuple(_keys(claims[:NAMED])),
                seconds=seconds,
                earliest=earliest,
                latest=latest,
                reason=reason,
                error=error,
            )
        )


def _checked(part: Sequence[Claim], decisions: Mapping[str, Decision]) -> Mapping[str, Decision]:
    """Raise what a decision that cannot be carried out deserves while it can still be told whose it is."""
    for claim in part if decisions else ():
        match decisions.get(claim.key, SETTLE):
            case Move(due_at):
                Deadline(claim.key, due_at)
            case Settle() | Release() | Bury():
                pass
            case other:
                raise TypeError(f"the handler's decision on {claim.key!r} is none: {other!r}")
    return decisions


def _keys(claims: Sequence[Claim]) -> list[str]:
    return [claim.key for claim in claims]
