"""Reconciling: asks the gateways about every attempt that may still have money, and refunds what is due.

It runs beside the sweep. A notify may be lost, a process may die before it books an answer, and a buyer may pay a link
whose order is gone. The rows of the attempts say what to ask and when, in any state of their orders.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import wait
from datetime import timedelta
from typing import TYPE_CHECKING, Generic

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TryLater
from lapse.engine.events import KEYS_NAMED, Event, Hook, Kind, emit, log_event
from lapse.orders.calls import GatewayCalls
from lapse.orders.gateway import RefundState, Ruling, Verdict, about
from lapse.orders.late_money import AttemptState
from lapse.orders.money import Settled
from lapse.orders.port import Outcome
from lapse.orders.repeating import Repeating
from lapse.orders.shop import R

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from lapse.orders.gateway import Gateway, Refund
    from lapse.orders.money import Money, Question
    from lapse.orders.port import Result

log = logging.getLogger("lapse")

PUT_OFF = timedelta(minutes=1)
"""How long an attempt that this process asks about is left alone by the others. After a crash it is asked later by so
much. It is longer than any call to a gateway."""

EVERY = timedelta(seconds=5)
"""Time between two looks for attempts whose time to be asked has come."""

PATIENCE = timedelta(seconds=10)
"""How long one page of questions is waited for. The calls go on, and the next page begins."""

NEWS = (Settled.PAID, Settled.REINSTATED, Settled.REFUND_DUE, Settled.REVIEW, Settled.REFUNDED)


Booker = Callable[[Callable[[], Settled]], None]


class Reconciler(Generic[R]):
    """Asks about attempts whose time to be asked has come, and repeats this until stopped. Any number may run at once.

    * An attempt of an order that waits for it is queried. An attempt of any other order is closed, if it has no money.
    * A closed attempt is asked about a few times more, and an attempt with an alarm until a person has dealt with it.
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
        calls: GatewayCalls | None = None,
        every: timedelta = EVERY,
        batch: int = 100,
        timer: str = "orders",
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        self._money = money
        self._gateways = gateways
        self._state_of = state_of
        self._resume = resume
        self._calls = calls or GatewayCalls()
        self._batch = batch
        self._timer = timer
        self._hooks = tuple(hooks)
        self._repeating = Repeating(self.once, every=every, name="reconciling", timer=timer, hooks=self._hooks)
        self._booked = deque[tuple[Settled, str]]()  # what gateways' threads have booked, not yet reported

    def run(self) -> None:
        """Ask and repeat until `stop`. Failures do not end it; of several in a row the first is reported."""
        self._repeating.run()

    def stop(self) -> None:
        """Return from `run` after the page in hand. May be called from any thread or signal handler."""
        self._repeating.stop()

    def once(self) -> Counter[Settled]:
        """Ask about all attempts whose time has come; return what became of reports that said something new.

        Raises TryLater if the database does not answer.
        """
        counts = Counter[Settled]()
        while not self._repeating.stopping:
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
        calls = [self._submit(q, waits=q.record.order_key in waiting) for q in page if self._has_gateway(q)]
        wait(calls, PATIENCE.total_seconds())
        booked = [self._booked.popleft() for _ in range(len(self._booked))]
        counts = Counter(settled for settled, _ in booked)
        keys = [key for settled, key in booked if settled in NEWS]
        news = ", ".join(f"{counts[settled]} {settled}" for settled in NEWS if counts[settled])
        kind = Kind.RECONCILED if news else Kind.IDLE
        seconds = SYSTEM_CLOCK.monotonic() - begun
        event = Event(
            kind=kind, timer=self._timer, count=len(keys), keys=tuple(keys[:KEYS_NAMED]), seconds=seconds, reason=news
        )
        emit(self._hooks, event)
        return counts

    def _has_gateway(self, question: Question) -> bool:
        record = question.record
        if record.gateway in self._gateways:
            return True
        log.error("no gateway named %r for attempt %s: add it to `gateways`", record.gateway, record.reference)
        return False

    def _submit(self, question: Question, *, waits: bool) -> Future[Ruling | Refund]:
        """Ask in a thread of the gateway, and book the answer there. Return the future of the answer.

        It is UNKNOWN at once while the gateway is not called. `waits`: the order waits for this payment.
        """
        record, attempt = question.record, question.attempt

        def book(booking: Callable[[], Settled]) -> None:
            """Book the answer. An error here is not the gateway's, and the gateway is asked again later."""
            try:
                settled = booking()
            except TryLater as error:
                log.warning("the answer about attempt %s was not booked: %s", record.reference, error)
            except Exception:
                log.exception("the answer about attempt %s could not be booked", record.reference)
            else:
                if settled is not Settled.KNOWN:
                    self._booked.append((settled, record.order_key))

        def ask() -> Ruling | Refund:
            gateway = self._gateways[record.gateway]
            if record.state is AttemptState.REFUND_DUE:
                return self._refund(gateway, question, book)
            # A closed attempt too: a link that was absent at the gateway may have been opened after that.
            call = gateway.query if waits or record.state.has_money else gateway.close
            answer = about(attempt, call(attempt))
            book(lambda: self._money.receive(answer, asked_about=record))
            return answer

        return self._calls.submit(attempt, ask, unknown=Ruling(attempt, Verdict.UNKNOWN))

    def _refund(self, gateway: Gateway, question: Question, book: Booker) -> Ruling | Refund:
        """Refund what the shop keeps of the attempt's money, and return the gateway's last answer.

        The gateway is queried first: the buyer may have the money back already.
        """
        attempt = question.attempt
        ruling = about(attempt, gateway.query(attempt))
        book(lambda: self._money.receive(ruling, asked_about=question.record))
        amount = self._money.begin_refund(attempt) if ruling.verdict is Verdict.PAID else None
        if amount is None:  # refunded meanwhile, or no answer, or one that needs a person
            return ruling
        asked_before = question.record.refunding is not None
        refund = about(attempt, gateway.refund_status(attempt)) if asked_before else None
        if refund is None or refund.state is RefundState.ABSENT:
            refund = about(attempt, gateway.refund(attempt, amount))
        answer = refund
        book(lambda: self._money.refunded(answer))
        return refund
