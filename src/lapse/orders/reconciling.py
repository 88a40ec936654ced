"""Reconciling: asks the gateways about every attempt that may still have money, and refunds what is due.

It runs beside the sweep. A notify may be lost, a process may die before it books an answer, and a buyer may pay a link
whose order is gone. The rows of the attempts say what to ask and when, in any state of their orders.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from concurrent.futures import Future, wait
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import LapseError
from lapse.engine.events import KEYS_NAMED, Event, Hook, Kind, emit, log_event
from lapse.engine.waker import Waker
from lapse.orders.gateway import Refund, RefundState, Ruling, Verdict
from lapse.orders.late_money import AttemptState
from lapse.orders.money import Settled
from lapse.orders.port import Outcome
from lapse.orders.shop import R

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from decimal import Decimal

    from lapse.orders.gateway import Attempt, Gateway
    from lapse.orders.money import Money, Question
    from lapse.orders.port import Result

log = logging.getLogger("lapse")

PUT_OFF = timedelta(minutes=1)
"""How long an attempt that this process asks about is left alone by the others. After a crash it is asked later by so
much. It is longer than any call to a gateway."""

PATIENCE = timedelta(seconds=10)
"""How long one page of questions is waited for. The calls go on, and the next page begins."""

NEWS = (Settled.PAID, Settled.REINSTATED, Settled.REFUND_DUE, Settled.REVIEW, Settled.REFUNDED)


class Calls(Protocol):
    """Runs calls to gateways in threads, so many at once for each gateway."""

    def submit(self, gateway: str, call: Callable[[], Settled], /) -> Future[Settled]:
        """Run the call in a thread of this gateway. Return its future, cancelled if the gateway is not called now."""
        ...


class Inline:
    """Runs each call in the caller's thread, for a shop's own scripts and tests."""

    def submit(self, gateway: str, call: Callable[[], Settled], /) -> Future[Settled]:
        """Run the call and return its result."""
        del gateway
        future: Future[Settled] = Future()
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - the caller reads it from the future
            future.set_exception(error)
        return future


class Reconciler(Generic[R]):
    """Asks about attempts whose time to be asked has come, and repeats this until stopped. Any number may run at once.

    * An open attempt of an order that waits for it is queried. An open attempt of any other order is closed.
    * A closed attempt is queried a few times more, and an attempt with an alarm until a person has dealt with it.
    * A refund that is due is asked for, under one key per attempt, until the provider has carried it out or refuses.
    * `resume` receives the orders whose open attempts are asked about. It finishes those that are closing but not due,
      because a cancel or an extension was interrupted.
    """

    def __init__(
        self,
        money: Money[R],
        gateways: Mapping[str, Gateway],
        *,
        state_of: Callable[[Sequence[str]], Mapping[str, Result]],
        resume: Callable[[Sequence[str]], object] | None = None,
        calls: Calls | None = None,
        every: timedelta = timedelta(seconds=5),
        batch: int = 100,
        timer: str = "orders",
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        self._money = money
        self._gateways = gateways
        self._state_of = state_of
        self._resume = resume
        self._calls: Calls = calls or Inline()
        self._every = every.total_seconds()
        self._batch = batch
        self._timer = timer
        self._hooks = tuple(hooks)
        self._waker = Waker()
        self._stopping = False

    def run(self) -> None:
        """Ask and repeat until `stop`. Failures do not end it; of several in a row the first is reported."""
        failures = 0
        while not self._stopping:
            try:
                self.once()
                failures = 0
            except Exception as error:  # noqa: BLE001 - the next round must not depend on this one
                failures += 1
                if failures == 1:
                    trace = None if isinstance(error, LapseError) else error
                    reason = f"reconciling failed and is being repeated: {error}"
                    emit(self._hooks, Event(kind=Kind.FAILED, timer=self._timer, reason=reason, error=trace))
            self._waker.wait(self._every * random.uniform(0.8, 1.0))  # noqa: S311 - spreads load, keeps no secret

    def stop(self) -> None:
        """Return from `run` after the page in hand. May be called from any thread or signal handler."""
        self._stopping = True
        self._waker.interrupt()

    def once(self) -> Counter[Settled]:
        """Ask about all attempts whose time has come; return how many reports became what. Raises TryLater."""
        counts = Counter[Settled]()
        while not self._stopping:
            page = self._money.attempts.to_ask(self._batch, within=PUT_OFF)
            if page:
                counts += self._ask_page(page)
            if len(page) < self._batch:
                break
        return counts

    def _ask_page(self, page: Sequence[Question]) -> Counter[Settled]:
        begun = SYSTEM_CLOCK.monotonic()
        states = self._state_of(list({question.record.order_key for question in page}))
        waiting = {key for key, result in states.items() if result.outcome is not Outcome.NOT_UNPAID}
        open_of = [q.record.order_key for q in page if q.record.state.open and q.record.order_key in waiting]
        if open_of and self._resume is not None:
            self._resume(open_of)
        futures = {
            self._calls.submit(q.record.gateway, partial(self._ask, q, waits=q.record.order_key in waiting)): q
            for q in page
        }
        wait(futures, PATIENCE.total_seconds())
        counts, keys = Counter[Settled](), list[str]()
        for future, question in futures.items():
            if not future.done() or future.cancelled():
                continue
            if (error := future.exception()) is not None:
                log.error("attempt %s could not be reconciled", question.record.reference, exc_info=error)
                continue
            counts[future.result()] += 1
            if future.result() in NEWS:
                keys.append(question.record.order_key)
        news = ", ".join(f"{counts[settled]} {settled}" for settled in NEWS if counts[settled])
        kind = Kind.RECONCILED if news else Kind.IDLE
        seconds = SYSTEM_CLOCK.monotonic() - begun
        event = Event(
            kind=kind, timer=self._timer, count=len(keys), keys=tuple(keys[:KEYS_NAMED]), seconds=seconds, reason=news
        )
        emit(self._hooks, event)
        return counts

    def _ask(self, question: Question, *, waits: bool) -> Settled:
        """Ask the gateway about one attempt, book the answer and return what became of it.

        `waits`: the order waits for this payment.
        """
        record, attempt = question.record, question.attempt
        gateway = self._gateways.get(record.gateway)
        if gateway is None:
            log.error(
                "no gateway named %r to ask about attempt %s: add it to `gateways`", record.gateway, record.reference
            )
            return Settled.KNOWN
        if record.state is AttemptState.REFUND_DUE:
            return self._refund(gateway, question)
        close = record.state.open and not waits
        return self._money.receive(_ruling(gateway.close if close else gateway.query, attempt))

    def _refund(self, gateway: Gateway, question: Question) -> Settled:
        """Refund what the shop keeps of the attempt's money, and return what became of it.

        The gateway is queried first: the buyer may have the money back already.
        """
        attempt = question.attempt
        ruling = _ruling(gateway.query, attempt)
        settled = self._money.receive(ruling)
        if ruling.verdict is not Verdict.PAID:  # refunded meanwhile, or no answer, or one that needs a person
            return settled
        amount = self._money.begin_refund(attempt)
        if amount is None:
            return settled
        asked_before = question.record.refunding is not None
        refund = _refund(gateway.refund_status, attempt) if asked_before else Refund(attempt, RefundState.ABSENT)
        if refund.state is RefundState.ABSENT:
            refund = _refund(partial(_ask_for, gateway, amount), attempt)
        return self._money.refunded(refund)


def _ask_for(gateway: Gateway, amount: Decimal, attempt: Attempt) -> Refund:
    return gateway.refund(attempt, amount)


def _ruling(call: Callable[[Attempt], Ruling], attempt: Attempt) -> Ruling:
    """Return the gateway's ruling. An exception counts as UNKNOWN."""
    try:
        return call(attempt)
    except Exception:
        log.exception("asking %s about attempt %s failed", attempt.gateway, attempt.reference)
        return Ruling(attempt, Verdict.UNKNOWN)


def _refund(call: Callable[[Attempt], Refund], attempt: Attempt) -> Refund:
    """Return the gateway's answer about a refund. An exception counts as UNKNOWN."""
    try:
        return call(attempt)
    except Exception:
        log.exception("refunding attempt %s at %s failed", attempt.reference, attempt.gateway)
        return Refund(attempt, RefundState.UNKNOWN)
