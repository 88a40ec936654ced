"""A shop whose attempts Lapse keeps, and its gateway: a bank in memory, whose answers a test may lose."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from django.db.models import F, Q
from django.utils import timezone

from lapse.integrations.django import UnpaidOrders
from lapse.orders import Attempt, Gateway, OrderBatch, Record, Refund, RefundState, Ruling, Verdict
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

PRICE = Decimal("58.00")
UNPAID = Q(status__in=["awaiting", "closing"])


class CupOrders(UnpaidOrders[CupOrder]):
    """All that this shop writes."""

    model = CupOrder
    attempts = CupAttempt
    unpaid = UNPAID
    deadline = "pay_by"
    lapsed: ClassVar = {"status": "cancelled"}
    closing: ClassVar = {"status": "closing"}
    reopened: ClassVar = {"status": "awaiting"}
    reason_field = "reason"

    def on_lapse(self, orders: OrderBatch[CupOrder]) -> None:
        """Make the stock available."""
        for order in orders:
            Cup.objects.filter(pk=order.cup_id).update(stock=F("stock") + 1)

    def on_paid(self, order: CupOrder, attempt: Record) -> None:
        """Sell the piece."""
        CupOrder.objects.filter(UNPAID, pk=order.pk).update(
            status="paid", reason="", turnover=F("turnover") + attempt.amount
        )

    def was_cancelled(self, order: CupOrder) -> bool:
        """Return whether the order was cancelled."""
        return order.status == "cancelled"

    def reinstate(self, order: CupOrder) -> bool:
        """Hold a piece again, if there is one."""
        CupOrder.objects.filter(pk=order.pk).update(status="awaiting")
        return bool(Cup.objects.filter(pk=order.cup_id, stock__gte=1).update(stock=F("stock") - 1))

    def on_refunded(self, order: CupOrder, attempt: Record, amount: Decimal) -> None:
        """Correct the turnover."""
        assert attempt.refunded >= amount
        CupOrder.objects.filter(pk=order.pk).update(turnover=F("turnover") - amount)


@dataclass
class Payment:
    """What the bank knows about one attempt."""

    paid: Decimal | None = None
    closed: bool = False
    back: Decimal = Decimal(0)
    refunds: dict[str, Decimal] = field(default_factory=dict)


class Bank:
    """A gateway whose payments are in memory. While `away`, each call takes effect, and its answer is lost."""

    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self.calls: list[str] = []
        self.is_away = False
        self.refuses = False
        self._lock = threading.Lock()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Lose the answers inside the block."""
        self.is_away = True
        try:
            yield
        finally:
            self.is_away = False

    def pay(self, reference: str, amount: Decimal = PRICE) -> None:
        """Let the buyer pay, whether or not the attempt was closed: the link of a trade that no buyer had opened."""
        self.payments.setdefault(reference, Payment()).paid = amount

    def give_back(self, reference: str, amount: Decimal) -> None:
        """Refund a part at the bank's own console."""
        self.payments[reference].back += amount

    def query(self, attempt: Attempt) -> Ruling:
        """Return what the bank knows."""
        with self._call("query"):
            return self._ruling(attempt)

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt unless it was paid. An attempt that no buyer has opened can be paid all the same."""
        with self._call("close"):
            self.payments.setdefault(attempt.reference, Payment()).closed = True
            return self._ruling(attempt)

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund the money once."""
        with self._call("refund"):
            payment = self.payments[attempt.reference]
            if self.refuses or payment.refunds.get(attempt.reference, amount) != amount:
                return Refund(attempt, RefundState.REFUSED, reason="the bank says no")
            if attempt.reference not in payment.refunds:
                payment.refunds[attempt.reference] = amount
                payment.back += amount
            return Refund(attempt, RefundState.DONE, amount=amount)

    def refund_status(self, attempt: Attempt) -> Refund:
        """Return what became of the refund."""
        with self._call("refund_status"):
            amount = self.payments[attempt.reference].refunds.get(attempt.reference)
            return Refund(attempt, RefundState.ABSENT if amount is None else RefundState.DONE, amount=amount)

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        with self._lock:
            self.calls.append(name)
            yield
            if self.is_away:
                raise TimeoutError("the bank does not answer")

    def _ruling(self, attempt: Attempt) -> Ruling:
        payment = self.payments.get(attempt.reference)
        if payment is None:
            return Ruling(attempt, Verdict.ABSENT)
        if payment.paid is None:
            return Ruling(attempt, Verdict.CLOSED if payment.closed else Verdict.OPEN)
        verdict = Verdict.REFUNDED if payment.back >= payment.paid else Verdict.PAID
        return Ruling(
            attempt,
            verdict,
            amount=payment.paid,
            refunded=payment.back,
            provider_reference=f"bank-{attempt.reference}",
        )


BANK: Gateway = Bank()
"""Only to see that the bank is a gateway; each test opens a new one."""


def place(*, due: timedelta = timedelta(minutes=-1), cup: Cup | None = None, stock: int = 0) -> CupOrder:
    """Place an order that holds one piece; `stock` pieces are left on a new product."""
    cup = cup or Cup.objects.create(stock=stock)
    return CupOrder.objects.create(cup=cup, pay_by=timezone.now() + due)


def begin(order: CupOrder, reference: str, amount: Decimal = PRICE) -> CupAttempt:
    """Open an attempt to pay."""
    return CupAttempt.objects.create(order=order, reference=reference, gateway="bank", amount=amount)
