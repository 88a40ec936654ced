"""The service that lapses a shop's orders: a worker on the timer and a sweep, or the sweep alone."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import Protocol

from lapse.engine.batches import BatchExecutor, Handler
from lapse.engine.claim_loop import RECONNECT, ClaimLoop
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Claim, Deadline
from lapse.engine.decision import Decision
from lapse.engine.errors import LapseError, TimerUnavailable
from lapse.engine.events import Event, Hook, Kind, emit, log_event, named
from lapse.engine.settlement import Settlement
from lapse.engine.stopping import stop_on_signals
from lapse.engine.timer import Timer
from lapse.engine.waker import Waker
from lapse.orders.arm_again import arm_unpaid
from lapse.orders.isolate import Isolated
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Outcome
from lapse.orders.service_options import ServiceOptions
from lapse.orders.sweep import Sweep

log = logging.getLogger("lapse")

FINISHED = frozenset({Outcome.LAPSED, Outcome.PAID, Outcome.NOT_UNPAID, Outcome.UNKNOWN})
"""The outcomes after which an order needs no deadline."""

DRAIN_LOOK = 0.05
"""Seconds between two looks for a second signal while calls to gateways end."""


class Beside(Protocol):
    """Work that a service runs in a thread of its own."""

    def run(self) -> None:
        """Work until `stop`, and finish what is in hand."""
        ...

    def stop(self) -> None:
        """Let `run` return soon. Called from a signal handler, and more than once."""
        ...


class Service:
    """Lapses a shop's unpaid orders until `stop` is called or a signal comes. Run as many processes as you like.

    * `open_timer` opens the timer. It is called again while the timer's server does not answer; the sweep works
      meanwhile. None: there is no timer, and only the sweep runs.
    * `beside` is other work of the shop, by the name of its thread: what asks the gateways about attempts, the service
      of the reminders' timer, the outbox. It delays no lapse, and it is stopped and drained together with the service.
    * The unpaid orders are armed whenever the timer's server may have lost deadlines.
    * `name` is the timer's name in events.
    * `after_thread` is called at the end of each thread that has used the orders. It closes what the framework opened
      in that thread, such as database connections.
    """

    def __init__(
        self,
        lapsing: Lapsing,
        open_timer: Callable[[], Timer] | None,
        *,
        beside: Mapping[str, Beside] = MappingProxyType({}),
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
        self._worker: ClaimLoop | None = None
        self._waker = Waker()
        self._stopping = False
        self._give_up_at: float | None = None
        self._abandoned = False
        with_timer = open_timer is not None
        self.sweep_every = self._options.sweep_beside_timer if with_timer else self._options.sweep_alone
        self._sweep = Sweep(
            lapsing,
            every=self.sweep_every,
            batch=self._options.batch,
            grace=self._options.grace if with_timer else timedelta(0),
            timer=name,
            wait=timedelta(0),
            disarm=self._disarm if with_timer else None,
            hooks=self._hooks,
        )
        self._beside: Mapping[str, Beside] = {"lapse-sweep": self._sweep, **beside}

    def run(self) -> None:
        """Work until `stop` or a signal; then finish the current batch within `drain`. A service runs once.

        Raises ConfigError or TimerRefused if the timer's settings or its server are wrong. If the timer's server or the
        database does not answer, the service waits for it.
        """
        threads = [
            threading.Thread(target=partial(self._run_beside, name, work), name=name, daemon=True)
            for name, work in self._beside.items()
        ]
        with stop_on_signals(self.stop):
            for thread in threads:
                thread.start()
            try:
                if self._open_timer is None:
                    self._wait()
                elif (timer := self._opened(self._open_timer)) is not None:
                    with timer:
                        self._work(timer)
            finally:
                self._stop_beside()
                for thread in threads:
                    thread.join(self._options.drain.total_seconds())
                self._drain()

    def stop(self) -> None:
        """Finish the current batch and return from `run`. May be called from any thread or signal handler."""
        if self._stopping:  # the second signal ends all waits
            self._give_up_at = 0.0
        self._stopping = True
        self._waker.interrupt()
        if self._worker is not None:
            self._worker.stop()
        self._stop_beside()  # at once: what is beside drains while the worker drains

    def _work(self, timer: Timer) -> None:
        self._timer = timer
        self._worker = ClaimLoop(
            timer,
            lambda settlement: _Batches(self._handle, settlement, self._options.batch, self._after_thread),
            lease=self._options.lease,
            max_attempts=self._options.max_attempts,
            backoff=None,
            drain=self._options.drain,
            rearm=partial(self._rearm, timer),
            hooks=self._hooks,
        )
        if self._stopping:  # the signal came before there was a worker to stop
            self._worker.stop()
        try:
            self._worker.run()
            self._drain()  # before the caller closes the timer, in which finished orders are disarmed
        finally:
            self._timer = None  # the sweep may still run while the caller closes the timer

    def _handle(self, claims: list[Claim]) -> Mapping[str, Decision]:
        """Lapse the claimed orders and return the decisions. Orders with an open attempt follow in the background."""
        return self._lapsing.handle(claims, partial(self._finished, {claim.key: claim for claim in claims}))

    def _finished(self, claims: Mapping[str, Claim], isolated: Isolated) -> None:
        """Disarm the orders that were finished after their gateways had answered, and report them. In any thread."""
        for key, error in isolated.failed.items():
            self._report(Kind.FAILED, [claims[key]], error=error, reason="step three failed after the gateway answered")
        finished = [claims[key] for key, result in isolated.results.items() if result.outcome in FINISHED]
        later = [Deadline(key, result.due_at) for key, result in isolated.results.items() if result.due_at is not None]
        if (timer := self._timer) is not None and (finished or later):
            try:
                timer.disarm([claim.key for claim in finished])
                timer.arm(later)
            except LapseError as error:  # these deadlines fire once more without effect, which costs little
                log.info("finished orders could not be disarmed: %s", error)
        if finished:
            self._report(Kind.HANDLED, finished, reason="after their gateways had answered")

    def _drain(self) -> None:
        """Let calls to gateways end. Orders whose calls last too long stay closing; their deadlines fire again."""
        self._sweep.stop()  # it would begin further calls
        if self._give_up_at is None:
            self._give_up_at = SYSTEM_CLOCK.monotonic() + self._options.drain.total_seconds()
        while not self._abandoned and not self._lapsing.closing.drain(DRAIN_LOOK):
            if SYSTEM_CLOCK.monotonic() >= self._give_up_at:
                self._abandoned = True
                log.warning("stopping before all gateways have answered; their orders stay closing and are tried again")

    def _opened(self, open_timer: Callable[[], Timer]) -> Timer | None:
        """Return the timer as soon as its server answers. Return None if the service stops before that."""
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

    def _stop_beside(self) -> None:
        for work in self._beside.values():
            work.stop()

    def _run_beside(self, name: str, work: Beside) -> None:
        try:
            work.run()
        except Exception:
            # For example, the server of the reminders' timer refuses what it is asked for. The orders still lapse.
            log.exception("%s has ended in this worker; orders go on lapsing. Remove the cause and restart it", name)
        finally:
            self._after_thread()

    def _rearm(self, timer: Timer) -> int:
        """Arm the orders that the timer does not know; return the number of unpaid orders. Runs in its own thread."""
        try:
            return max(arm_unpaid(timer, self._lapsing.orders, batch=self._options.arm_batch), default=0)
        finally:
            self._after_thread()

    def _disarm(self, keys: Sequence[str]) -> None:
        timer = self._timer
        if timer is not None:
            timer.disarm(keys)

    def _report(self, kind: Kind, claims: Sequence[Claim], *, reason: str, error: BaseException | None = None) -> None:
        late = tuple([claim.late_by for claim in claims])
        event = Event(
            kind=kind,
            timer=self._name,
            count=len(claims),
            keys=named(claims),
            lateness=late,
            reason=reason,
            error=error,
        )
        emit(self._hooks, event)

    def _emit(self, kind: Kind, reason: str = "") -> None:
        emit(self._hooks, Event(kind=kind, timer=self._name, reason=reason))


class _Batches(BatchExecutor):
    """Executes the batches of a service, and calls `after_thread` at the end of the thread in which it did."""

    def __init__(self, handler: Handler, settlement: Settlement, limit: int, after_thread: Callable[[], None]) -> None:
        super().__init__(handler, settlement, limit=limit)
        self._after_thread = after_thread

    def finish(self) -> None:
        """Close what the orders opened in this thread."""
        self._after_thread()
