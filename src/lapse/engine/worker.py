"""The worker: claims what is due, hands it to the handler in batches, and settles."""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from lapse.engine.backoff import Backoff
from lapse.engine.batch import Batch
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim
from lapse.engine.decision import Decision
from lapse.engine.errors import TimerUnavailable, TryLater
from lapse.engine.events import Event, Hook, Kind, emit, log_event
from lapse.engine.leases import LeaseKeeper
from lapse.engine.rearming import Rearming
from lapse.engine.stopping import told_by_signals
from lapse.engine.timer import LEASE, Timer
from lapse.engine.waker import Waker

Handler = Callable[[list[Claim]], Mapping[str, Decision] | None]
"""Does the work for a batch and says, by key, what is to become of each claim; what it leaves out is settled."""

MAX_ATTEMPTS = 10
DRAIN = timedelta(seconds=10)
RECONNECT = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=5))
CLAIM_WAIT = timedelta(seconds=5)


class Worker:
    """Runs one handler on one timer. Start as many workers, in as many processes, as you like.

    * `handler` gets up to `batch` claims. It runs in a thread of its own. If it raises, the batch is tried again in
      halves, so that one bad order is found and the others go on; the bad one is released with `backoff`, and buried
      after `max_attempts`. If it raises TryLater, all are given back and no attempt is counted.
    * `lease` bounds how late a crash of this process can make what it held; long handlers are kept leased.
    * `rearm` arms every unpaid order that the timer does not know. It is called at the start and whenever the timer's
      server may have lost deadlines, beside the work.
    * On SIGTERM or SIGINT the batch in hand is finished, for at most `drain`; a second signal does not wait.
    * `hooks` hear what happens; by default it goes to the `lapse` logger.

    An order may be handed out more than once (a crash, a lost answer): the handler's effects must come from a
    conditional update. `Claim.token` is there as a fence for updates that have no other condition.
    """

    def __init__(
        self,
        timer: Timer,
        handler: Handler,
        *,
        batch: int = 500,
        lease: timedelta = LEASE,
        max_attempts: int = MAX_ATTEMPTS,
        backoff: Backoff | None = None,
        drain: timedelta = DRAIN,
        rearm: Callable[[], int] | None = None,
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        if batch < 1 or max_attempts < 1 or lease <= timedelta(0):
            raise ValueError("batch and max_attempts are at least 1, and lease is longer than nothing")
        self._timer = timer
        self._limit = batch
        self._lease = lease
        self._drain = drain
        self._hooks = tuple(hooks)
        self._leases = LeaseKeeper(timer, lease, self._lost)
        self._rearming = Rearming(timer, rearm, self._emit)
        self._batch = Batch(
            timer,
            handler,
            self._leases,
            backoff=backoff or Backoff(),
            max_attempts=max_attempts,
            emit=self._emit,
        )
        self._stop = Waker()
        self._stopping = 0
        self._claiming = False
        self._crash: BaseException | None = None

    def run(self) -> None:
        """Work until `stop` is called or a signal comes. A worker runs once.

        Raises TimerRefused where the timer's server says no, and whatever else ends the work unforeseen; an absent
        server does not: the worker waits for it.
        """
        thread = threading.Thread(target=self._guarded_loop, name=f"lapse-{self._timer.name}", daemon=True)
        self._leases.start()
        reason = ""
        try:
            with told_by_signals(self.stop):
                self._emit(Event(kind=Kind.STARTED, timer=self._timer.name))  # from here on a signal is heard
                thread.start()
                if not self._join(thread):
                    reason = "the handler was still busy when the drain was over; what it held is due again in a lease"
        finally:
            self._leases.close()
        self._emit(Event(kind=Kind.STOPPED, timer=self._timer.name, reason=reason))
        if self._crash is not None:
            raise self._crash

    def stop(self) -> None:
        """Finish the batch in hand and return from `run`. May be called from any thread or signal handler."""
        self._stopping += 1
        self._batch.stop()
        self._stop.interrupt()
        self._timer.wake()

    def _join(self, thread: threading.Thread) -> bool:
        """Wait for the thread; once stopping, for `drain` at most or until told a second time. True if it ended."""
        end: float | None = None
        while thread.is_alive():
            thread.join(0.05 if self._stopping else 0.2)  # so short, because a signal's handler runs in between
            if self._stopping:
                if self._claiming:  # the wake-up may have ended the wait of another worker on the same timer
                    self._timer.wake()
                end = end or SYSTEM_CLOCK.monotonic() + self._drain.total_seconds()
            if end is not None and (self._stopping > 1 or SYSTEM_CLOCK.monotonic() >= end):
                thread.join(0)
                return not thread.is_alive()
        return True

    def _guarded_loop(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # noqa: BLE001 - carried over to run(), which raises it
            self._crash = error

    def _loop(self) -> None:
        failures = 0
        away = 0
        while not self._stopping:
            try:
                self._rearming.look()
                self._claiming = True
                claims = self._timer.claim(self._limit, wait=CLAIM_WAIT, lease=self._lease)
                self._claiming = False
                if failures:
                    self._emit(Event(kind=Kind.TIMER_BACK, timer=self._timer.name))
                    failures = 0
            except TimerUnavailable as error:
                failures += 1
                if failures == 1:
                    self._emit(Event(kind=Kind.TIMER_LOST, timer=self._timer.name, reason=str(error)))
                self._claiming = False
                self._idle("the timer is away")
                self._stop.wait(RECONNECT.delay(failures).total_seconds())
                continue
            if not claims:
                self._idle()
                continue
            try:
                self._batch.handle(claims)
                away = 0
            except TryLater as error:
                away += 1
                pause = RECONNECT.delay(away) if error.after is None else error.after
                self._stop.wait(pause.total_seconds())

    def _idle(self, reason: str = "") -> None:
        if not self._stopping:  # a claim that was interrupted has not looked
            self._emit(Event(kind=Kind.IDLE, timer=self._timer.name, reason=reason))

    def _lost(self, claims: list[Claim]) -> None:
        self._emit(
            Event(
                kind=Kind.LEASE_LOST,
                timer=self._timer.name,
                count=len(claims),
                keys=tuple(claim.key for claim in claims[:5]),
            )
        )

    def _emit(self, event: Event) -> None:
        emit(self._hooks, event)
