"""Executes many claims at once, one claim per thread: a slow answer delays its own order only."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim
from lapse.engine.decision import Decision, Release, Settle
from lapse.engine.errors import TryLater
from lapse.engine.events import Kind
from lapse.engine.settlement import EXHAUSTED, SETTLE, Settlement, checked

ClaimHandler = Callable[[Claim], Decision | None]
"""Does the work for one claim in one of many threads; may block. Returns the decision on the claim; None settles."""

LOOK_AGAIN = 0.2
"""Seconds between two checks for a stop while all threads are busy. A signal handler may take no lock, so we poll."""


class ConcurrentExecutor:
    """Hands each claim to one of `concurrency` threads. It takes no more claims than there are free threads.

    Use it for work that waits, such as a call over the network. Database work is faster in batches of one transaction.
    """

    def __init__(self, handler: ClaimHandler, settlement: Settlement, *, concurrency: int) -> None:
        self._handler = handler
        self._settlement = settlement
        self._concurrency = concurrency
        self._claims: SimpleQueue[Claim | None] = SimpleQueue()
        self._busy = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._error: BaseException | None = None

    def start(self) -> None:
        """Start the threads."""
        for number in range(self._concurrency):
            name = f"lapse-{self._settlement.timer.name}-{number}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def room(self) -> int:
        """Return how many threads are free, after a short wait if none is. Raises an error that ended the work."""
        with self._changed:
            if self._busy == self._concurrency:
                self._changed.wait(LOOK_AGAIN)
            if self._error is not None:
                raise self._error
            return self._concurrency - self._busy

    def execute(self, claims: list[Claim]) -> None:
        """Begin to handle every claim, and return at once."""
        self._settlement.leases.hold(claims)
        with self._changed:
            self._busy += len(claims)
        for claim in claims:
            self._claims.put(claim)

    def stop(self) -> None:
        """Do nothing: claims that threads have begun to handle are finished."""

    def finish(self) -> None:
        """Wait until all work that has begun has ended, and end the threads. Raises an error that ended the work."""
        for _ in range(self._concurrency):
            self._claims.put(None)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
        if self._error is not None:
            raise self._error

    def _serve(self) -> None:
        while (claim := self._claims.get()) is not None:
            error: BaseException | None = None
            try:
                self._handle(claim)
            except BaseException as refused:  # noqa: BLE001 - carried over to the claim loop, which raises it
                error = refused
            with self._changed:
                self._busy -= 1
                self._error = self._error or error
                self._changed.notify_all()
            if error is not None:
                self._settlement.timer.wake()  # the loop may be waiting for claims

    def _handle(self, claim: Claim) -> None:
        begun = SYSTEM_CLOCK.monotonic()
        decision = self._decide(claim)
        seconds = SYSTEM_CLOCK.monotonic() - begun
        final = self._settlement.final(claim, decision)
        if self._settlement.carry_out([claim], {claim.key: final}):
            self._report(claim, decision, final, seconds)

    def _decide(self, claim: Claim) -> Decision:
        if self._settlement.exhausted(claim):
            return EXHAUSTED
        try:
            return checked(claim, self._handler(claim) or SETTLE)
        except TryLater as error:  # not this order's fault, so no attempt is counted
            delay = self._settlement.backoff.delay(1) if error.after is None else error.after
            return Release(delay, forgive=True, reason=str(error) or "try later")
        except Exception as error:  # noqa: BLE001 - any bug of a handler may be one order's fault
            self._settlement.report(Kind.FAILED, [claim], error=error)
            return Release(reason=f"{type(error).__name__}: {error}")

    def _report(self, claim: Claim, decision: Decision, final: Decision, seconds: float) -> None:
        """Report what became of the claim. A burial has been reported with the call that carried it out."""
        match decision, final:
            case Release(reason=reason, forgive=True), Release():
                self._settlement.report(Kind.RELEASED, [claim], reason=reason, seconds=seconds)
            case Release(reason=reason), Release(delay) if delay is not None:
                tries = f"attempt {claim.attempt} of {self._settlement.max_attempts}"
                again = f"{reason}; {tries}, again in {delay.total_seconds():.1f} s"
                self._settlement.report(Kind.FAILED, [claim], reason=again, seconds=seconds)
            case Settle(reason), _:
                kind = Kind.DECLINED if reason else Kind.HANDLED
                self._settlement.report(kind, [claim], reason=reason, seconds=seconds)
            case _:  # moved or buried
                pass
