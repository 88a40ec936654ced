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
from lapse.orders.gateway import Attempt, Ruling, Verdict
from lapse.orders.money import Money, Settled, UnknownAttempt
from lapse.orders.reconciling import EVERY, Reconciler
from lapse.orders.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        refuse_transaction(self._queries.using)
        found = self.money.attempts.find(reference)
        if found is None:
            raise UnknownAttempt(f"the shop has no attempt {reference!r}")
        attempt = Attempt(found.order_key, reference, found.gateway)
        ruling = unknown = Ruling(attempt, Verdict.UNKNOWN)
        gateway = cast("Gateway", self.gateways[found.gateway])
        with suppress(TimeoutError):
            call = self._closing.calls.submit(attempt, lambda: gateway.query(attempt), unknown=unknown)
            ruling = call.result(wait.total_seconds())
        if ruling.verdict in (Verdict.PAID, Verdict.REFUNDED):
            self.money.receive(ruling)
        elif ruling.verdict is Verdict.UNKNOWN:
            self.money.attempts.ask_now(reference)
        return ruling.verdict

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

    def on_ruling(self, order: M, rulings: Sequence[Ruling]) -> bool:
        """Book the rulings on the order's attempts and return True if the order is paid afterwards."""
        return False if self.attempts is None else self.money.apply_all(order, rulings)

    def _disarm(self, keys: Sequence[str]) -> None:
        raise NotImplementedError
