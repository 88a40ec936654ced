"""Many deliveries at once: each claim by itself, so that a slow answer delays its own order and no other."""

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from queue import SimpleQueue

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim
from lapse.engine.decision import Bury, Release, Settle
from lapse.engine.errors import TimerError, TimerUnavailable
from lapse.engine.events import Event, Hook, Kind, emit, log_event
from lapse.engine.leases import LeaseKeeper
from lapse.engine.stopping import told_by_signals
from lapse.engine.timer import LEASE, Timer
from lapse.engine.waker import Waker

Outcome = Settle | Release | Bury
Deliver = Callable[[Claim], Outcome]
"""Does the work for one claim. It is called in many threads, and may wait."""

CLAIM_WAIT = timedelta(seconds=5)
RECONNECT = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=5))


class Deliveries:
    """Claims what is due, never more than can be begun at once, and hands each claim to a thread of its own.

    The engine's worker takes batches through one transaction; this is for work that waits for the network.

    * Up to `concurrency` deliveries are under way; their leases are renewed.
    * What is to be released after `max_attempts` is buried, and so is what was handed out oftener than that.
    * On SIGTERM or SIGINT nothing more is claimed and what is under way may end within `drain`; a second signal does
      not wait. What is still under way then is delivered again when its lease has ended.
    """

    def __init__(
        self,
        timer: Timer,
        deliver: Deliver,
        *,
        concurrency: int,
        max_attempts: int,
        lease: timedelta = LEASE,
        drain: timedelta = timedelta(seconds=15),
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        self._timer = timer
        self._deliver = deliver
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._lease = lease
        self._drain = drain
        self._hooks = tuple(hooks)
        self._leases = LeaseKeeper(timer, lease, self._lost)
        self._begun: SimpleQueue[Claim] = SimpleQueue()
        self._busy = 0
        self._held: dict[tuple[str, int], Claim] = {}
        self._changed = threading.Condition()
        self._stopping = 0
        self._stop = Waker()
        self._refused: TimerError | None = None

    def run(self) -> None:
        """Work until `stop` is called or a signal comes. It runs once.

        Raises TimerRefused where the timer's server says no; an absent server is waited for.
        """
        for number in range(self._concurrency):
            threading.Thread(target=self._run_one, name=f"lapse-delivery-{number}", daemon=True).start()
        self._leases.start()
        reason = ""
        try:
            with told_by_signals(self.stop):
                self._emit(Event(kind=Kind.STARTED, timer=self._timer.name))
                self._loop()
                if not self._drained():
                    reason = "some deliveries had no answer when the drain was over; they are due again in a lease"
        finally:
            self._leases.close()
        self._emit(Event(kind=Kind.STOPPED, timer=self._timer.name, reason=reason))

    def stop(self) -> None:
        """Claim no more, and return from `run`. May be called from any thread or signal handler."""
        self._stopping += 1
        self._stop.interrupt()
        self._timer.wake()

    def _loop(self) -> None:
        failures = 0
        while not self._stopping:
            if self._refused is not None:
                raise self._refused
            with self._changed:
                free = self._concurrency - self._busy
                if not free:
                    self._changed.wait(0.2)  # so short, because a signal's handler runs in between
                    continue
            try:
                claims = self._timer.claim(free, wait=CLAIM_WAIT, lease=self._lease)
            except TimerUnavailable as error:
                failures += 1
                if failures == 1:
                    self._emit(Event(kind=Kind.TIMER_LOST, timer=self._timer.name, reason=str(error)))
                self._stop.wait(RECONNECT.delay(failures).total_seconds())
                continue
            if failures:
                failures = 0
                self._emit(Event(kind=Kind.TIMER_BACK, timer=self._timer.name))
            self._begin(claims)

    def _begin(self, claims: Sequence[Claim]) -> None:
        if not claims and not self._stopping:
            self._emit(Event(kind=Kind.IDLE, timer=self._timer.name))
        with self._changed:
            self._busy += len(claims)
            self._held |= {(claim.key, claim.token): claim for claim in claims}
            self._leases.hold(list(self._held.values()))
        for claim in claims:
            self._begun.put(claim)

    def _run_one(self) -> None:
        while True:
            claim = self._begun.get()
            try:
                self._handle(claim)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _handle(self, claim: Claim) -> None:
        begun = SYSTEM_CLOCK.monotonic()
        outcome = self._outcome(claim)
        seconds = SYSTEM_CLOCK.monotonic() - begun
        with self._changed:  # before the timer forgets it, or a renewal in between would call it lost
            del self._held[claim.key, claim.token]
            self._leases.hold(list(self._held.values()))
        try:
            self._carry_out(claim, outcome, seconds)
        except TimerUnavailable as error:
            self._tell(claim, Kind.FAILED, reason=f"the timer was not told, so it comes again: {error}")
        except TimerError as error:
            self._refused = error
            self._timer.wake()

    def _outcome(self, claim: Claim) -> Outcome:
        if claim.attempt > self._max_attempts:
            return Bury("handed out too often, and never heard of again")
        try:
            return self._deliver(claim)
        except Exception as error:  # noqa: BLE001 - a fault in one delivery must not end the thread
            self._tell(claim, Kind.FAILED, error=error)
            return Release(reason=f"{type(error).__name__}: {error}")

    def _carry_out(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        match outcome:
            case Release(reason=reason, forgive=False) if claim.attempt >= self._max_attempts:
                self._bury(claim, reason or f"released {claim.attempt} times")
            case Release(delay, forgive, reason):
                wait = Backoff().delay(claim.attempt) if delay is None else delay
                self._timer.release([claim], delay=wait, forgive=forgive)
                again = f"attempt {claim.attempt} of {self._max_attempts}, again in {wait.total_seconds():.1f} s"
                self._tell(claim, Kind.FAILED, reason=f"{reason}; {again}", seconds=seconds)
            case Bury(reason):
                self._bury(claim, reason)
            case Settle(reason):
                self._timer.settle([claim])
                self._tell(claim, Kind.DECLINED if reason else Kind.HANDLED, reason=reason, seconds=seconds)

    def _bury(self, claim: Claim, reason: str) -> None:
        self._timer.bury([claim], reason=reason)
        self._tell(claim, Kind.BURIED, reason=reason)

    def _drained(self) -> bool:
        """Wait for what is under way, until the drain is over or a second signal comes. True if all of it ended."""
        end = SYSTEM_CLOCK.monotonic() + self._drain.total_seconds()
        with self._changed:
            while self._busy and self._stopping < 2 and SYSTEM_CLOCK.monotonic() < end:  # noqa: PLR2004 - the second
                self._changed.wait(0.05)
            return not self._busy

    def _lost(self, claims: list[Claim]) -> None:
        keys = tuple(claim.key for claim in claims[:5])
        self._emit(Event(kind=Kind.LEASE_LOST, timer=self._timer.name, count=len(claims), keys=keys))

    def _tell(
        self, claim: Claim, kind: Kind, *, reason: str = "", seconds: float = 0.0, error: Exception | None = None
    ) -> None:
        self._emit(
            Event(
                kind=kind,
                timer=self._timer.name,
                count=1,
                keys=(claim.key,),
                seconds=seconds,
                earliest=claim.late_by,
                latest=claim.late_by,
                reason=reason,
                error=error,
            )
        )

    def _emit(self, event: Event) -> None:
        emit(self._hooks, event)
