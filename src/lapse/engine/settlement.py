"""The rules for decisions on claims, shared by all executors, and the timer calls that carry decisions out."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.deadline import Claim, Deadline
from lapse.engine.decision import Bury, Decision, Move, Release, Settle
from lapse.engine.errors import TimerUnavailable
from lapse.engine.events import Event, Kind, named
from lapse.engine.leases import LeaseKeeper
from lapse.engine.timer import Timer
from lapse.engine.visible import MOST_REASON, visible

ALONE_FROM = 4
"""From this attempt on, a claim is tried outside the batch: it may be the one that killed the earlier workers."""

SETTLE = Settle()
"""The decision on a claim for which the handler returned none."""

EXHAUSTED = Bury("attempt limit exceeded: workers died or hung each time")
"""The decision on a claim that was handed out up to the limit without any worker reporting back."""


class Settlement:
    """Completes the handler's decisions, carries them out in the timer, and reports them. Thread-safe.

    A release without a delay gets one from `backoff`. A release after `max_attempts` becomes a burial, unless the
    attempt is forgiven. `leases` stops renewing a claim before the timer carries out the decision.
    """

    def __init__(
        self,
        timer: Timer,
        leases: LeaseKeeper,
        *,
        backoff: Backoff,
        max_attempts: int,
        emit: Callable[[Event], None],
    ) -> None:
        self.timer = timer
        self.leases = leases
        self.backoff = backoff
        self.max_attempts = max_attempts
        self._emit = emit

    def exhausted(self, claim: Claim) -> bool:
        """Return True if the claim must be buried without being tried.

        The first attempts never exceed the limit: another order in the same batch may have killed those workers.
        """
        return claim.attempt > max(self.max_attempts, ALONE_FROM - 1)

    def final(self, claim: Claim, decision: Decision) -> Decision:
        """Return the decision with its default values filled in, or a burial if the claim was released too often."""
        match decision:
            case Release(_, False, reason) if claim.attempt >= self.max_attempts:
                return Bury(reason or f"released {claim.attempt} times")
            case Release(None, forgive, _):
                return Release(self.backoff.delay(claim.attempt), forgive=forgive)
            case Release(delay, forgive, _):
                return Release(delay, forgive=forgive)
            case _:
                return decision

    def carry_out(self, claims: Sequence[Claim], decisions: Mapping[str, Decision]) -> bool:
        """Carry out the decisions, by key, in the timer; a claim without a decision is settled.

        Return False if the timer did not answer. That does no harm: the leases end, and the orders are handed out
        again.
        """
        alike: dict[Decision, list[Claim]] = defaultdict(list)
        if decisions:
            for claim in claims:
                alike[self.final(claim, decisions.get(claim.key, SETTLE))].append(claim)
        else:  # the most frequent case, which need not look at each claim
            alike[SETTLE] = list(claims)
        self.leases.let_go(claims)  # before the timer forgets them: a renewal in between would report them lost
        try:
            for decision, part in alike.items():
                self._carry_out(decision, part)
        except TimerUnavailable as error:
            self.report(Kind.FAILED, claims, reason=f"not settled, so these will be handed out again: {error}")
            return False
        return True

    def _carry_out(self, decision: Decision, claims: list[Claim]) -> None:
        match decision:
            case Settle():
                self.timer.settle(claims)
            case Move(due_at):
                self.timer.arm([Deadline(claim.key, due_at) for claim in claims])
            case Release(delay, forgive, _):
                self.timer.release(claims, delay=delay or timedelta(0), forgive=forgive)
            case Bury(reason):
                # A stranger may have chosen its words, and not every server stores every character, such as NUL.
                reason = visible(reason, MOST_REASON)
                self.timer.bury(claims, reason=reason)
                self.report(Kind.BURIED, claims, reason=reason)

    def report(
        self,
        kind: Kind,
        claims: Sequence[Claim],
        *,
        seconds: float = 0.0,
        reason: str = "",
        error: BaseException | None = None,
    ) -> None:
        """Emit an event about these claims."""
        self._emit(
            Event(
                kind=kind,
                timer=self.timer.name,
                count=len(claims),
                keys=named(claims),
                seconds=seconds,
                lateness=tuple([claim.late_by for claim in claims]),
                reason=reason,
                error=error,
            )
        )


def checked(claim: Claim, decision: object) -> Decision:
    """Return the decision. Raises TypeError or InvalidDeadline for one that no timer could carry out."""
    match decision:
        case Move(due_at):
            Deadline(claim.key, due_at)
            return decision
        case Settle() | Release() | Bury():
            return decision
    raise TypeError(f"the handler's decision on {claim.key!r} is none: {decision!r}")
