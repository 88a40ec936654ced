"""What runs for a shop's orders: a worker on the timer with a sweep beside it, or the sweep alone."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial

from lapse.engine.claim_loop import RECONNECT
from lapse.engine.errors import ConfigError, TimerUnavailable
from lapse.engine.events import Event, Hook, Kind, emit, log_event
from lapse.engine.stopping import stop_on_signals
from lapse.engine.timer import LEASE, Timer
from lapse.engine.waker import Waker
from lapse.engine.worker import DRAIN, MAX_ATTEMPTS, Worker
from lapse.orders.arm_again import ARM_BATCH, arm_unpaid
from lapse.orders.lapsing import Lapsing
from lapse.orders.sweep import Sweep

BATCH = 500
"""How many orders one transaction lapses at the most, so that no lock is held for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Sizes and times of a service. Raises ConfigError for a number that makes no sense."""

    batch: int = BATCH
    """Orders in one transaction, at most (500)."""
    lease: timedelta = LEASE
    """How long a claim is held (10 s): how late a crash of the worker can make what it had claimed."""
    sweep_beside_timer: timedelta = timedelta(seconds=15)
    """Time between two sweeps beside a timer (15 s): how late an order is, at most, that the timer does not know."""
    sweep_alone: timedelta = timedelta(seconds=1)
    """Time between two sweeps where there is no timer (1 s)."""
    grace: timedelta = timedelta(seconds=1)
    """How long after its deadline the sweep leaves an order to the timer, where there is one (1 s). May be 0."""
    max_attempts: int = MAX_ATTEMPTS
    """Attempts before a deadline is buried (10)."""
    drain: timedelta = DRAIN
    """How long the batch in hand may take to finish after a signal to stop (10 s)."""
    arm_batch: int = ARM_BATCH
    """Deadlines that one call arms when the timer may have lost them (2,000)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            seconds = value.total_seconds() if isinstance(value, timedelta) else value
            if seconds < 0 or (seconds == 0 and field.name != "grace"):
                unit = " seconds" if isinstance(value, timedelta) else ""
                raise ConfigError(f"{field.name} must be greater than 0; got {seconds:g}{unit}")


class Service:
    """Lapses a shop's unpaid orders until `stop` is called or a signal comes. Run as many processes as you like.

    * `open_timer` opens the timer and is repeated as long as its server does not answer; the sweep works meanwhile.
      None means that there is no timer: the sweep is alone.
    * The unpaid orders are armed whenever the timer's server may have lost deadlines.
    * `name` is the timer's name in events.
    * `after_thread` is called in each thread that has used the orders, when the thread ends: to close what the
      framework opened there, such as database connections.
    """

    def __init__(
        self,
        lapsing: Lapsing,
        open_timer: Callable[[], Timer] | None,
        *,
        name: str = "orders",
        options: ServiceOptions | None = None,
        hooks: Iterable[Hook] = (log_event,),
        after_thread: Callable[[], None] = lambda: None,
    ) -> None:
        self._lapsing = lapsing
        self._open_timer = open_timer
        self._name = name
        self._options = options or ServiceOptions()
        self._hooks = tuple(hooks)
        self._after_thread = after_thread
        self._timer: Timer | None = None
        self._worker: Worker | None = None
        self._waker = Waker()
        self._stopping = False
        beside = open_timer is not None
        self.sweep_every = self._options.sweep_beside_timer if beside else self._options.sweep_alone
        self._sweep = Sweep(
            lapsing,
            every=self.sweep_every,
            batch=self._options.batch,
            grace=self._options.grace if beside else timedelta(0),
            timer=name,
            disarm=self._disarm if beside else None,
            hooks=self._hooks,
        )

    def run(self) -> None:
        """Work until `stop` or a signal; the batch in hand is finished, for at most `drain`. A service runs once.

        Raises ConfigError or TimerRefused where the timer cannot be used as it is set up. A timer's server or a
        database that does not answer is waited for.
        """
        thread = threading.Thread(target=self._run_sweep, name="lapse-sweep", daemon=True)
        with stop_on_signals(self.stop):
            thread.start()
            try:
                if self._open_timer is None:
                    self._wait()
                elif (timer := self._opened(self._open_timer)) is not None:
                    with timer:
                        self._work(timer)
            finally:
                self._sweep.stop()
                thread.join(self._options.drain.total_seconds())

    def stop(self) -> None:
        """Finish the batch in hand and return from `run`. May be called from any thread or signal handler."""
        self._stopping = True
        self._waker.interrupt()
        if self._worker is not None:
            self._worker.stop()

    def _work(self, timer: Timer) -> None:
        self._timer = timer
        self._worker = Worker(
            timer,
            self._lapsing.handle,
            batch=self._options.batch,
            lease=self._options.lease,
            max_attempts=self._options.max_attempts,
            drain=self._options.drain,
            rearm=partial(self._rearm, timer),
            hooks=self._hooks,
        )
        if self._stopping:  # the signal came before there was a worker to stop
            self._worker.stop()
        try:
            self._worker.run()
        finally:
            self._timer = None  # the sweep may still be at work, and the timer is closed next

    def _opened(self, open_timer: Callable[[], Timer]) -> Timer | None:
        """Return the timer, however long its server does not answer; None once the service stops."""
        failures = 0
        while not self._stopping:
            try:
                return open_timer()
            except TimerUnavailable as error:
                failures += 1
                self._emit(Kind.TIMER_LOST if failures == 1 else Kind.IDLE, str(error))
                self._waker.wait(RECONNECT.delay(failures).total_seconds())
        return None

    def _wait(self) -> None:
        self._emit(Kind.STARTED)
        while not self._stopping:
            self._waker.wait(60.0)
        self._emit(Kind.STOPPED)

    def _run_sweep(self) -> None:
        try:
            self._sweep.run()
        finally:
            self._after_thread()

    def _rearm(self, timer: Timer) -> int:
        """Arm what the timer does not know; return how many unpaid orders there are. Runs in a thread of its own."""
        try:
            return max(arm_unpaid(timer, self._lapsing.orders, batch=self._options.arm_batch), default=0)
        finally:
            self._after_thread()

    def _disarm(self, keys: Sequence[str]) -> None:
        timer = self._timer
        if timer is not None:
            timer.disarm(keys)

    def _emit(self, kind: Kind, reason: str = "") -> None:
        emit(self._hooks, Event(kind=kind, timer=self._name, reason=reason))
