"""Executes claims in batches. A batch that fails is halved until the bad order is found; the other orders go on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim
from lapse.engine.decision import Decision, Release
from lapse.engine.errors import TryLater
from lapse.engine.events import Kind
from lapse.engine.settlement import ALONE_FROM, EXHAUSTED, SETTLE, Settlement, checked

Handler = Callable[[list[Claim]], Mapping[str, Decision] | None]
"""Does the work for a batch. Returns the decision on each claim by its key; a claim without a decision is settled."""

UNCOUNTED = Release(timedelta(0), forgive=True)
"""The decision on claims that were not tried: they are due at once, and no attempt is counted."""


class BatchExecutor:
    """Calls the handler with one batch of up to `limit` claims after another, in the thread of the claim loop."""

    def __init__(self, handler: Handler, settlement: Settlement, *, limit: int) -> None:
        self._handler = handler
        self._settlement = settlement
        self._leases = settlement.leases
        self._limit = limit
        self._stopping = False

    def start(self) -> None:
        """Do nothing: the claim loop's thread executes the batches."""

    def room(self) -> int:
        """Return how many claims one batch takes."""
        return self._limit

    def execute(self, claims: list[Claim]) -> None:
        """Handle every claim, even if some fail. If the handler raises TryLater, release all claims and raise it.

        A claim that was handed out several times without a decision is a suspect: it may have killed the process that
        handled it. One suspect is tried, alone and after all other claims. The other suspects are released. So if the
        process dies again, only the suspect that was tried has one attempt more. A suspect that was tried too often is
        buried.
        """
        fresh = [claim for claim in claims if claim.attempt < ALONE_FROM]
        again = [claim for claim in claims if claim.attempt >= ALONE_FROM]
        suspects = [claim for claim in again if not self._settlement.exhausted(claim)]
        exhausted = [claim for claim in again if self._settlement.exhausted(claim)]
        self._leases.hold(claims)
        try:
            if untried := suspects[1:]:
                self._settlement.carry_out(untried, dict.fromkeys(_keys(untried), UNCOUNTED))
            if exhausted:
                self._settlement.carry_out(exhausted, dict.fromkeys(_keys(exhausted), EXHAUSTED))
            self._try([suspects[:1], fresh])
        finally:
            self._leases.let_go_all()

    def stop(self) -> None:
        """Stop halving; release the claims that have not been tried."""
        self._stopping = True

    def finish(self) -> None:
        """Do nothing: `execute` returns when its batch is done."""

    def _try(self, parts: list[list[Claim]]) -> None:
        """Handle the parts, the last one first; halve a part that fails. No claim in `parts` has been tried yet."""
        while parts:
            part = self._leases.still_held(parts.pop())
            if not part:
                continue
            begun = SYSTEM_CLOCK.monotonic()
            try:
                decisions = _checked(part, self._handler(list(part)) or {})
            except TryLater as error:
                self._give_back([*part, *(claim for untried in parts for claim in untried)], error)
                raise
            except Exception as error:  # noqa: BLE001 - any bug of a handler may be one order's fault
                parts.extend(self._after_failure(part, error))
            else:
                self._settlement.carry_out(part, decisions)
                self._report(part, decisions, SYSTEM_CLOCK.monotonic() - begun)

    def _report(self, part: list[Claim], decisions: Mapping[str, Decision], seconds: float) -> None:
        """Report the claims as handled, except those that were released uncounted: their work is not done yet."""
        later: list[Claim] = []
        done = part
        if decisions:
            later = [claim for claim in part if isinstance(made := decisions.get(claim.key), Release) and made.forgive]
            uncounted = {claim.key for claim in later}
            done = [claim for claim in part if claim.key not in uncounted]
        if done:
            self._settlement.report(Kind.HANDLED, done, seconds=seconds)
        if later:
            reasons = sorted({made.reason for claim in later if isinstance(made := decisions[claim.key], Release)})
            self._settlement.report(Kind.RELEASED, later, seconds=seconds, reason=", ".join(filter(None, reasons)))

    def _give_back(self, claims: list[Claim], error: TryLater) -> None:
        """Release the claims for the time that the handler asked for. No attempt is counted."""
        delay = self._settlement.backoff.delay(1) if error.after is None else error.after
        self._settlement.carry_out(claims, dict.fromkeys(_keys(claims), Release(delay, forgive=True)))
        self._settlement.report(Kind.RELEASED, claims, reason=str(error) or "try later")

    def _after_failure(self, part: list[Claim], error: Exception) -> list[list[Claim]]:
        """Return the part's halves, to be tried next, last one first. A single claim is released or buried instead."""
        self._settlement.report(Kind.FAILED, part, error=error)
        if len(part) == 1:
            reason = f"{type(error).__name__}: {error}"
            self._settlement.carry_out(part, {part[0].key: Release(reason=reason)})
            return []
        if self._stopping:
            self._settlement.carry_out(part, dict.fromkeys(_keys(part), UNCOUNTED))
            return []
        middle = len(part) // 2
        return [part[middle:], part[:middle]]


def _checked(part: Sequence[Claim], decisions: Mapping[str, Decision]) -> Mapping[str, Decision]:
    """Return the decisions. Raises for a decision that cannot be carried out, while its claim is still known."""
    for claim in part if decisions else ():
        checked(claim, decisions.get(claim.key, SETTLE))
    return decisions


def _keys(claims: Sequence[Claim]) -> list[str]:
    return [claim.key for claim in claims]
