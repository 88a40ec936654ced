"""Calls to gateways, each gateway in threads of its own: a gateway that hangs delays its own orders only."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import LapseError
from lapse.orders.circuit import Circuit
from lapse.orders.gateway import Attempt, Refund, RefundState, Ruling, Verdict

log = logging.getLogger("lapse")

A = TypeVar("A")
"""The answer of a gateway: a ruling or a refund."""

THREADS = 16
"""The largest number of calls to one gateway at once."""

QUEUE = 1000
"""The largest number of calls that wait for a thread of one gateway. Further calls are answered at once: unknown."""

BUDGET = timedelta(seconds=5)
"""How long one call may take. A longer call counts as failed, but its answer still counts when it arrives."""


class GatewayCalls:
    """Calls gateways in daemon threads, at most `threads` at once for each gateway; one object per process.

    * Threads start when there is work and end when there is none. A forked process begins with none and no work.
    * Every gateway has a circuit: after several calls without a clear answer the gateway is not called for a while.
      See `lapse.orders.circuit`.
    * `after_call` is called in the thread after each call and after what the answer started. It closes what was opened
      there, such as database connections.
    """

    def __init__(
        self,
        *,
        threads: int = THREADS,
        queue: int = QUEUE,
        budget: timedelta = BUDGET,
        clock: Clock = SYSTEM_CLOCK,
        after_call: Callable[[], None] = lambda: None,
    ) -> None:
        if threads < 1 or queue < 1 or budget <= timedelta(0):
            raise ValueError("threads and queue must be at least 1, and budget must be greater than 0")
        self.budget = budget
        self._limits = _Limits(threads, queue, budget.total_seconds(), clock, after_call)
        self._by_process: dict[int, dict[str, _Line]] = {}

    def submit(self, attempt: Attempt, work: Callable[[], A], *, unknown: A) -> "Future[A]":
        """Call `work` in a thread of the attempt's gateway; return the future of its answer. Never waits.

        The answer is the object `unknown` if `work` raises. It is that at once, without a call, if the gateway is not
        to be called now or too many calls wait. The future's callbacks run in the gateway's thread, in a copy of the
        caller's context.
        """
        call: _Call[A] = _Call(attempt.reference, work, unknown)
        self._line(attempt.gateway).submit(call)
        return call.future

    def wait_of(self, gateway: str) -> float:
        """Return for how many seconds the gateway is not to be called; 0 if it may be called now."""
        return self._line(gateway).wait()

    def drain(self, seconds: float) -> bool:
        """Wait until no call runs or waits, for at most `seconds`. Return whether all calls have ended."""
        end = self._limits.clock.monotonic() + seconds
        lines = list(self._lines().values())
        ended = [line.drain(end - self._limits.clock.monotonic()) for line in lines]
        return all(ended)

    def _lines(self) -> "dict[str, _Line]":
        return self._by_process.setdefault(os.getpid(), {})

    def _line(self, gateway: str) -> "_Line":
        lines = self._lines()
        return lines.get(gateway) or lines.setdefault(gateway, _Line(gateway, self._limits))


@dataclass(frozen=True, slots=True)
class _Limits:
    threads: int
    queue: int
    budget: float
    clock: Clock
    after_call: Callable[[], None]


@dataclass(eq=False, slots=True)
class _Call(Generic[A]):
    subject: str
    work: Callable[[], A]
    unknown: A
    future: "Future[A]" = field(default_factory=Future)
    context: Context = field(default_factory=copy_context)
    started: float = 0.0
    judged: bool = False
    """Whether the circuit knows how the call went."""


class _Line:
    """The calls of one gateway in one process."""

    def __init__(self, gateway: str, limits: _Limits) -> None:
        self._gateway = gateway
        self._limits = limits
        self._clock = limits.clock
        self._changed = threading.Condition()
        self._circuit = Circuit(gateway, limits.clock)
        self._waiting: deque[_Call[Any]] = deque()
        self._running: set[_Call[Any]] = set()
        self._threads = 0

    def submit(self, call: "_Call[Any]") -> None:
        with self._changed:
            refused = self._judge_overdue()
            if len(self._waiting) < self._limits.queue and self._circuit.admits(call):
                call.started = self._clock.monotonic()  # a probe must be answered within the budget from now on
                self._start_thread()
                if self._threads:
                    self._waiting.append(call)
                else:
                    refused += [call, *self._judge(call, failed=True)]
            else:
                refused.append(call)
        _refuse(refused)

    def wait(self) -> float:
        with self._changed:
            refused = self._judge_overdue()
            seconds = self._circuit.wait()
        _refuse(refused)
        return seconds

    def drain(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._threads, max(0.0, seconds))

    def _start_thread(self) -> None:
        if self._threads == self._limits.threads:
            return
        try:
            threading.Thread(target=self._serve, name=f"lapse-gateway-{self._gateway}", daemon=True).start()
        except RuntimeError as error:  # the system has no thread left
            log.warning("no thread could be started to call gateway %r: %s", self._gateway, error)
        else:
            self._threads += 1

    def _serve(self) -> None:
        while (call := self._next()) is not None:
            call.context.run(self._run, call)

    def _next(self) -> "_Call[Any] | None":
        with self._changed:
            if not self._waiting:
                self._threads -= 1
                self._changed.notify_all()
                return None
            call = self._waiting.popleft()
            call.started = self._clock.monotonic()
            self._running.add(call)
            return call

    def _run(self, call: "_Call[Any]") -> None:
        try:
            answer = call.work()
        except LapseError as error:
            log.warning("a call to gateway %r about attempt %s failed: %s", self._gateway, call.subject, error)
            answer = call.unknown
        except BaseException:
            log.exception("a call to gateway %r about attempt %s failed", self._gateway, call.subject)
            answer = call.unknown
        self._close_thread()
        with self._changed:
            self._running.discard(call)
            refused = self._judge_overdue()
            refused += self._judge(call, failed=self._is_late(call) or _is_unclear(answer))
        _refuse(refused)
        call.future.set_result(answer)
        self._close_thread()

    def _close_thread(self) -> None:
        try:
            self._limits.after_call()
        except Exception:
            log.exception("closing what a call to gateway %r had opened failed", self._gateway)

    def _is_late(self, call: "_Call[Any]") -> bool:
        return self._clock.monotonic() - call.started >= self._limits.budget

    def _judge_overdue(self) -> "list[_Call[Any]]":
        """Count the calls that take longer than the budget as failed; return the calls that are refused now.

        A call that hangs says nothing itself, so this is done whenever another call comes or ends.
        """
        refused: list[_Call[Any]] = []
        waiting_too_long = [call for call in self._waiting if self._circuit.is_probe(call)]
        for call in [*self._running, *waiting_too_long]:
            if not call.judged and self._is_late(call):
                refused += self._judge(call, failed=True)
        return refused

    def _judge(self, call: "_Call[Any]", *, failed: bool) -> "list[_Call[Any]]":
        """Let the circuit know how the call went; return the waiting calls, which are refused, if it has opened."""
        if call.judged:
            return []
        call.judged = True
        if not failed:
            self._circuit.answered(call)
            return []
        if not self._circuit.failed(call, call.subject):
            return []
        refused = list(self._waiting)
        self._waiting.clear()
        return refused


def _refuse(calls: "list[_Call[Any]]") -> None:
    for call in calls:
        call.future.set_result(call.unknown)


def _is_unclear(answer: object) -> bool:
    match answer:
        case Ruling(verdict=Verdict.UNKNOWN) | Refund(state=RefundState.UNKNOWN):
            return True
    return False
