"""The claim loop: claims due deadlines, has them executed, waits while the timer is away, and drains on SIGTERM."""

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Protocol

from lapse.engine.backoff import Backoff
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim
from lapse.engine.errors import TimerUnavailable, TryLater
from lapse.engine.events import Event, Hook, Kind, emit
from lapse.engine.leases import LeaseKeeper
from lapse.engine.rearming import Rearming
from lapse.engine.settlement import Settlement
from lapse.engine.stopping import stop_on_signals
from lapse.engine.timer import Timer
from lapse.engine.waker import Waker

RECONNECT = Backoff(first=timedelta(milliseconds=100), most=timedelta(seconds=5))
"""How long to wait between two tries while the timer is away."""

CLAIM_WAIT = timedelta(seconds=5)
"""How long one claim waits. An idle worker emits an IDLE event, its sign of life, at this interval."""

NOT_DRAINED = "the handler was still busy when the drain was over; its claims are due again when their leases end"


class Executor(Protocol):
    """A way to execute claims. The claim loop's thread calls all methods except `stop`."""

    def start(self) -> None:
        """Prepare to execute. Called once, before the first claim."""
        ...

    def room(self) -> int:
        """Return how many claims can be executed now. If there is no room, return 0 after a short wait."""
        ...

    def execute(self, claims: list[Claim]) -> None:
        """Execute the claims, or begin to. There are at most as many claims as `room` returned.

        Raises TryLater if no claim can be executed for a while; the claims are released then.
        """
        ...

    def stop(self) -> None:
        """End soon. May be called from any thread or signal handler, so it must take no lock."""
        ...

    def finish(self) -> None:
        """Wait until all work that has begun has ended. Nothing is executed afterwards."""
        ...


class ClaimLoop:
    """Claims as many deadlines as its executor has room for, again and again; waits while the timer is away."""

    def __init__(
        self,
        timer: Timer,
        executor: Callable[[Settlement], Executor],
        *,
        lease: timedelta,
        max_attempts: int,
        backoff: Backoff | None,
        drain: timedelta,
        rearm: Callable[[], int] | None,
        hooks: Iterable[Hook],
    ) -> None:
        if max_attempts < 1 or lease <= timedelta(0):
            raise ValueError("max_attempts must be at least 1, and lease must be greater than 0")
        self._timer = timer
        self._lease = lease
        self._drain = drain
        self._hooks = tuple(hooks)
        self._leases = LeaseKeeper(timer, lease, self._on_lease_lost)
        self._rearming = Rearming(timer, rearm, self._emit)
        self._settlement = Settlement(
            timer, self._leases, backoff=backoff or Backoff(), max_attempts=max_attempts, emit=self._emit
        )
        self._executor = executor(self._settlement)
        self._stop = Waker()
        self._stopping = 0
        self._claiming = False
        self._crash: BaseException | None = None

    def run(self) -> None:
        """Work until `stop` is called or a signal comes. A worker runs once.

        Raises TimerRefused if the timer's server refuses, and any other error that ends the work. If the server does
        not answer, this raises nothing: the worker waits for the server.
        """
        thread = threading.Thread(target=self._guarded_loop, name=f"lapse-{self._timer.name}", daemon=True)
        self._leases.start()
        drained = True
        try:
            with stop_on_signals(self.stop):
                self._emit(Event(kind=Kind.STARTED, timer=self._timer.name))  # from here on a signal stops the worker
                thread.start()
                drained = self._join(thread)
        finally:
            self._leases.close()
        self._emit(Event(kind=Kind.STOPPED, timer=self._timer.name, reason="" if drained else NOT_DRAINED))
        if self._crash is not None:
            raise self._crash

    def stop(self) -> None:
        """Finish the work in hand and return from `run`. May be called from any thread or signal handler."""
        self._stopping += 1
        self._executor.stop()
        self._stop.interrupt()
        self._timer.wake()

    def _join(self, thread: threading.Thread) -> bool:
        """Wait for the thread; after `stop`, for at most `drain` or until a second `stop`. Return True if it ended."""
        end: float | None = None
        while thread.is_alive():
            thread.join(0.05 if self._stopping else 0.2)  # short: a signal handler runs between two joins
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
            self._executor.start()
            self._loop()
        except BaseException as error:  # noqa: BLE001 - carried over to run(), which raises it
            self._crash = error
            self._stopping += 1  # so that run() waits no longer than the drain
        try:
            self._executor.finish()
        except BaseException as error:  # noqa: BLE001 - as above
            self._crash = self._crash or error

    def _loop(self) -> None:
        away = postponed = 0
        while not self._stopping:
            room = self._executor.room()
            if not room:
                continue
            try:
                claims = self._claim(room)
            except TimerUnavailable as error:
                away += 1
                if away == 1:
                    self._emit(Event(kind=Kind.TIMER_LOST, timer=self._timer.name, reason=str(error)))
                self._idle("the timer is away")
                self._stop.wait(RECONNECT.delay(away).total_seconds())
                continue
            if away:
                self._emit(Event(kind=Kind.TIMER_BACK, timer=self._timer.name))
                away = 0
            if not claims:
                self._idle()
                continue
            try:
                self._executor.execute(claims)
                postponed = 0
            except TryLater as error:
                postponed += 1
                pause = RECONNECT.delay(postponed) if error.after is None else error.after
                self._stop.wait(pause.total_seconds())

    def _claim(self, limit: int) -> list[Claim]:
        self._rearming.look()
        self._claiming = True
        try:
            return self._timer.claim(limit, wait=CLAIM_WAIT, lease=self._lease)
        finally:
            self._claiming = False

    def _idle(self, reason: str = "") -> None:
        if not self._stopping:  # an interrupted claim has not looked for work
            self._emit(Event(kind=Kind.IDLE, timer=self._timer.name, reason=reason))

    def _on_lease_lost(self, claims: list[Claim]) -> None:
        self._settlement.report(Kind.LEASE_LOST, claims)

    def _emit(self, event: Event) -> None:
        emit(self._hooks, event)
