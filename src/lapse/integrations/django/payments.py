"""The payments of a Django shop whose attempts Lapse keeps: what `UnpaidOrders` inherits."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from django.db.models import Model, Q

from lapse.engine.errors import ConfigError
from lapse.engine.events import log_event
from lapse.integrations.django.database_orders import DatabaseOrders
from lapse.integrations.django.rows.attempts import AttemptRows
from lapse.integrations.django.rows.transactions import refuse_transaction
from lapse.orders.cause import BY_TIMER, EXPIRED, TIMER, Cause
from lapse.orders.gateway import Attempt, Ruling, Verdict, about
from lapse.orders.late_money import AttemptState
from lapse.orders.money import Money, Question, Settled, UnknownAttempt
from lapse.orders.reconciling import EVERY, Reconciler
from lapse.orders.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lapse.engine.events import Hook
    from lapse.integrations.django.attempts import AbstractPaymentAttempt
    from lapse.integrations.django.rows.queries import Queries
    from lapse.orders.closing import Closing
    from lapse.orders.gateway import Gateway

M = TypeVar("M", bound=Model)

ASK_WAIT = timedelta(seconds=3)
"""How long a page waits for a gateway. Alipay usually answers within half a second."""


class Payments(Shop[M], Generic[M]):
    """Attempts to pay, and the money that comes by them. For a shop that declares `attempts`."""

    attempts: ClassVar[type[AbstractPaymentAttempt] | None] = None

    @cached_property
    def _queries(self) -> Queries[M]:
        raise NotImplementedError  # `UnpaidOrders` has them

    @property
    def _closing(self) -> Closing:
        raise NotImplementedError

    def receive(self, ruling: Ruling) -> Settled:
        """Book what a gateway reports about an attempt, and return what became of it. To be called for each notify.

        A report takes effect once. Reports may come twice and in any sequence. Its effect is committed when
        this returns, or with the caller's transaction. Raises UnknownAttempt: let the gateway send the notify again.
        Raises ConfigError if the shop declares no `attempts`.
        """
        return self.money.receive(ruling)

    def ask(self, reference: str, *, wait: timedelta = ASK_WAIT) -> Verdict:
        """Ask the gateway now whether this attempt was paid, and book money. Return the verdict. For a return page.

        The state of the attempt and of its order does not matter. Waits for the gateway for at most `wait`. UNKNOWN:
        the gateway has not answered, so a worker asks again soon. Verdicts without money change nothing here, because
        lapsing and the worker ask for themselves. Raises UnknownAttempt, and OpenTransaction inside a transaction.
        """
        attempt = self._found(reference).attempt
        ruling = self._call(attempt, lambda gateway: gateway.query(attempt), wait)
        if ruling.verdict in (Verdict.PAID, Verdict.REFUNDED):
            self.money.receive(ruling)
        elif ruling.verdict is Verdict.UNKNOWN:
            self.money.attempts.ask_now(reference)
        return ruling.verdict

    def close_attempt(self, reference: str, *, wait: timedelta = ASK_WAIT) -> Verdict:
        """Close this attempt at its gateway, so that another one can replace it, and return the verdict.

        The verdict is booked. The order does not lapse: it stays unpaid, or money that came first pays it. Waits for
        the gateway for at most `wait`.

        CLOSED or REFUNDED: the attempt can no longer be paid. PAID: it was paid. OPEN or ABSENT: it may still be paid;
        for example, no buyer has opened the link, so that the gateway knows nothing to close, until the link ends.
        UNKNOWN: the gateway has not answered, so a worker asks again soon. The gateway is not called for an attempt
        that is not open in the shop's records. Raises UnknownAttempt, and OpenTransaction inside a transaction.
        """
        found = self._found(reference)
        if not found.record.state.open:
            refunded = found.record.state is AttemptState.REFUNDED
            return Verdict.PAID if found.record.state.has_money else Verdict.REFUNDED if refunded else Verdict.CLOSED
        ruling = self._call(found.attempt, lambda gateway: gateway.close(found.attempt), wait)
        if ruling.verdict is Verdict.UNKNOWN:
            self.money.attempts.ask_now(reference)
        else:
            self.money.receive(ruling)
        return ruling.verdict

    def _found(self, reference: str) -> Question:
        """Return the attempt. Raises UnknownAttempt, and OpenTransaction, because the gateway is called next."""
        refuse_transaction(self._queries.using)
        found = self.money.attempts.question(reference)
        if found is None:
            raise UnknownAttempt(f"the shop has no attempt {reference!r}")
        return found

    def _call(self, attempt: Attempt, call: Callable[[Gateway], Ruling], wait: timedelta) -> Ruling:
        """Call the attempt's gateway; return its answer, or UNKNOWN if there is none within `wait`."""
        ruling = unknown = Ruling(attempt, Verdict.UNKNOWN)
        gateway = cast("Gateway", self.gateways[attempt.gateway])
        with suppress(TimeoutError):
            future = self._closing.calls.submit(attempt, lambda: about(attempt, call(gateway)), unknown=unknown)
            ruling = future.result(wait.total_seconds())
        return ruling

    @cached_property
    def money(self) -> Money[M]:
        """The door for money. Raises ConfigError if the shop declares no `attempts`."""
        if self.attempts is None:
            raise ConfigError(f"{type(self).__name__} declares no `attempts`, so Lapse keeps no attempts to pay")
        rows = AttemptRows[M](self.attempts, self._queries.keys)
        return Money(self, self._queries, rows, disarm=self._disarm)

    def reconciler(self, *, every: timedelta = EVERY, hooks: Iterable[Hook] = (log_event,)) -> Reconciler[M]:
        """Return what asks the gateways about attempts, for a worker. Raises ConfigError without `attempts`."""
        return Reconciler(
            self.money,
            cast("Mapping[str, Gateway]", self.gateways),  # `manage.py check` has seen all methods
            state_of=self._queries.ask,
            resume=self._resume,
            calls=self._closing.calls,
            every=every,
            timer=self.name,
            hooks=hooks,
        )

    def _resume(self, keys: Sequence[str]) -> None:
        """Finish what a crash interrupted: a person's cancel, or the lapse of an order that was extended meanwhile."""
        closing = self.closing(EXPIRED, TIMER) if callable(self.closing) else self.closing or {}
        plain = {name: value for name, value in closing.items() if not hasattr(value, "resolve_expression")}
        if plain:
            found = self._queries.rows(Q(pk__in=self._queries.pks(keys), **plain))
            keys = [self._queries.key_of(order) for order in found]
            for cause in (BY_TIMER, Cause(person=True, resumes=True)):
                orders = DatabaseOrders(self, self._queries, cause, closing=self._closing, disarm=self._disarm)
                orders.lapsing().lapse(keys, wait=timedelta(0))

    def open_attempts(self, orders: Sequence[M]) -> Sequence[Attempt]:
        """Return the attempts to pay that must be closed before these orders may lapse. The rows are locked."""
        return () if self.attempts is None else self.money.attempts.open_of(orders)

    def on_link_doubt(self, orders: Sequence[M]) -> None:
        """Let the gateways be asked soon about the open attempts of these orders, which have been reopened."""
        if self.attempts is not None:
            self.money.attempts.ask_open(orders)

    def on_ruling(self, order: M, rulings: Sequence[Ruling]) -> bool:
        """Book the rulings on the order's attempts and return True if the order is paid afterwards."""
        return False if self.attempts is None else self.money.apply_all(order, rulings)

    def _disarm(self, keys: Sequence[str]) -> None:
        raise NotImplementedError
