"""The rows of a Django shop's attempts to pay, which inherit `AbstractPaymentAttempt`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import IntegrityError, connections, router, transaction
from django.db.models import Case, DurationField, ExpressionWrapper, F, Model, Q, QuerySet, When

from lapse.integrations.django.rows.database_clock import DatabaseNow
from lapse.integrations.django.rows.db_errors import close_outlived_connection, unavailable_is_try_later
from lapse.integrations.django.rows.row_locks import one_of
from lapse.integrations.django.rows.transactions import read_committed
from lapse.orders.gateway import Attempt
from lapse.orders.late_money import OPEN, AttemptState, Record
from lapse.orders.money import Question, UnknownAttempt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from lapse.integrations.django.rows.order_keys import OrderKeys

STILL_OPEN = Q(state__in=sorted(OPEN))
"""The attempts that may still be paid."""

M = TypeVar("M", bound=Model)


class AttemptRows(Generic[M]):
    """The table of a shop's attempts. It implements `lapse.orders.Attempts`. `keys` are the keys of the orders."""

    def __init__(self, model: type[Any], keys: OrderKeys) -> None:
        self._model = model
        self._order_key = f"order__{keys.column}"

    def find(self, reference: str) -> Record | None:
        """Return the attempt without locking its row, or None."""
        found = self.question(reference)
        return None if found is None else found.record

    def question(self, reference: str) -> Question | None:
        """Return the attempt with what its gateway must know to be asked about it, without locks; or None."""
        if "\0" in reference:  # a stranger's reference: PostgreSQL raises an error where it is compared
            return None
        with unavailable_is_try_later(self._using):
            row = self._read().filter(reference=reference).first()
        return None if row is None else Question(_record(row), _attempt(row))

    def lock(self, reference: str) -> Record:
        """Lock the attempt's row in the open transaction. Return the attempt as it is once locked.

        Raises UnknownAttempt if there is no such row.
        """
        # A locking read, because a transaction of the caller may have an old snapshot on MySQL and MariaDB.
        of = ("self",) if connections[self._using].features.has_select_for_update_of else ()
        row = self._read().select_for_update(of=of).filter(reference=reference).first()
        if row is None:
            raise UnknownAttempt(f"this shop has no attempt {reference!r}")
        return _record(row)

    def store(self, record: Record, *, ask_in: timedelta | None, keep_time: bool = False) -> None:
        """Write the locked row. The gateway is asked after `ask_in`; None: never again; or when it was to be asked."""
        time: Any = F("ask_at") if keep_time else None if ask_in is None else DatabaseNow(-ask_in)
        same = When(state=record.state.value, then=F("state_at"))
        self._table().filter(reference=record.reference).update(
            state_at=Case(same, default=DatabaseNow()),  # first: MySQL and MariaDB would read the new state
            state=record.state.value,
            provider_reference=record.provider_reference,
            paid=record.paid,
            refunded=record.refunded,
            refunding=record.refunding,
            alarm=record.alarm[:500],
            written_off=record.written_off,
            asks=min(record.asks, 32_000),
            ask_at=time,
            changed_at=DatabaseNow(),
        )

    def take_number(self, record: Record, provider_reference: str) -> bool:
        """Store this number of a payment with the locked attempt; return False if another attempt there has it.

        The unique column decides: a query could not see what another transaction has not committed yet.
        """
        row = self._table().filter(reference=record.reference)
        try:
            with transaction.atomic(using=row.db):
                row.update(payment_key=f"{record.gateway}:{provider_reference}")
        except IntegrityError:
            return False
        return True

    def ask_now(self, reference: str) -> None:
        """Let the gateway be asked about this attempt at once."""
        self._table().filter(reference=reference).update(ask_at=DatabaseNow(), asks=0)

    def ask_others(self, record: Record) -> None:
        """Let the gateway be asked at once about the other attempts of the order that may still be paid."""
        orders = list(self._table().filter(reference=record.reference).values_list("order", flat=True))
        of_order = self._table().filter(STILL_OPEN, order__in=orders)
        of_order.exclude(reference=record.reference).update(ask_at=DatabaseNow(), asks=0)

    def ask_open(self, orders: Sequence[M]) -> None:
        """Let the gateways be asked at once about the attempts of these orders that may still be paid."""
        of_orders = self._table().filter(STILL_OPEN, order__in=[order.pk for order in orders])
        of_orders.update(ask_at=DatabaseNow(), asks=0)

    def open_of(self, orders: Sequence[M]) -> list[Attempt]:
        """Return the attempts of these orders that may still be paid."""
        rows = self._read().filter(STILL_OPEN, order__in=[order.pk for order in orders])
        return [_attempt(row) for row in rows]

    def to_ask(self, limit: int, *, within: timedelta) -> list[Question]:
        """Return up to `limit` attempts that must be asked about now, and put each off by `within`."""
        using = self._using
        close_outlived_connection(using)
        # At a stricter level PostgreSQL ends the transaction if another process has asked since it began.
        with unavailable_is_try_later(using), read_committed(using):
            self._table().filter(one_of("pk", ())).update(asks=F("asks"))  # on SQLite, it takes the write lock
            due = self._table().filter(ask_at__lte=DatabaseNow()).order_by("ask_at", "pk")
            skip = connections[using].features.has_select_for_update_skip_locked
            pks = list(due.select_for_update(skip_locked=skip).values_list("pk", flat=True)[:limit])
            self._table().filter(pk__in=pks).update(ask_at=DatabaseNow(-within))
        rows = self._read().filter(pk__in=pks).order_by("ask_at", "pk")
        return [Question(_record(row), _attempt(row)) for row in rows]

    @property
    def _using(self) -> str:
        return router.db_for_write(self._model)

    def _table(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = QuerySet(self._model, using=self._using)
        return rows

    def _read(self) -> QuerySet[Any]:
        left = ExpressionWrapper(F("expires_at") - DatabaseNow(), output_field=DurationField())
        rows: QuerySet[Any] = self._table().annotate(left=left, order_key=F(self._order_key)).order_by("pk")
        return rows


def _record(row: Any) -> Record:  # noqa: ANN401 - a row of the shop's model, annotated
    return Record(
        reference=row.reference,
        order_key=str(row.order_key),
        gateway=row.gateway,
        state=AttemptState(row.state),
        amount=row.amount,
        paid=row.paid,
        refunded=row.refunded,
        refunding=row.refunding,
        provider_reference=row.provider_reference,
        alarm=row.alarm,
        written_off=row.written_off,
        asks=row.asks,
    )


def _attempt(row: Any) -> Attempt:  # noqa: ANN401 - as above
    return Attempt(str(row.order_key), row.reference, row.gateway, row.left)
