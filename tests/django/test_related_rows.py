"""A condition that reads another table: its rows are locked with the order, or the set-up is refused."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from lapse.integrations.django import UnpaidOrders
from lapse.orders import OrderBatch, Outcome
from tests.django.adopter.threads import PATIENCE, in_thread
from tests.django.databases import ALIAS
from tests.django.racing import payer_first
from tests.django.wirings.models import Proforma, Sale, SaleDeadline, Transfer


class Companion(UnpaidOrders[SaleDeadline]):
    """The deadline is in a companion of the order, and the order says whether it is paid."""

    model = SaleDeadline
    unpaid = Q(open=True, sale__status="Pending")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"open": False}
    lock = ("sale",)

    def on_lapse(self, orders: OrderBatch[SaleDeadline]) -> None:
        """Cancel the sales."""
        Sale.objects.filter(deadline__in=orders).update(status="Cancelled")


class Announced(UnpaidOrders[Proforma]):
    """An invoice is unpaid as long as a transfer for it is only announced. The transfers refer to its number."""

    model = Proforma
    unpaid = Q(status="awaiting", transfers__state="announced")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}
    lock = ("transfers",)

    def on_lapse(self, orders: OrderBatch[Proforma]) -> None:
        """Keep no stock."""


def sold(count: int) -> list[SaleDeadline]:
    """Place sales that are overdue."""
    due = timezone.now() - timedelta(minutes=1)
    return [SaleDeadline.objects.create(sale=Sale.objects.create(), pay_by=due) for _ in range(count)]


def keys(orders: Sequence[Any]) -> list[str]:
    """Name the orders."""
    return [str(order.pk) for order in orders]


@pytest.mark.usefixtures("locking")
def test_b1_a_companion_does_not_cancel_a_paid_order() -> None:
    """The payer has locked and paid the sale, not the companion: the order is LOCKED, then not unpaid."""
    first, second = sold(2)
    paid, done = threading.Event(), threading.Event()

    def pay() -> None:
        with transaction.atomic(using=ALIAS):
            sale = Sale.objects.select_for_update().get(pk=first.sale_id)
            sale.status = "Paid"
            sale.save()
            paid.set()
            assert done.wait(PATIENCE)

    payer = in_thread(pay)
    assert paid.wait(PATIENCE)
    during = Companion().lapse(keys([first, second]))
    assert not payer.done()
    done.set()
    payer.result(PATIENCE)
    assert [during[key].outcome for key in keys([first, second])] == [Outcome.LOCKED, Outcome.LAPSED]
    assert Companion().lapse(keys([first]))[str(first.pk)].outcome is Outcome.NOT_UNPAID
    assert list(Sale.objects.order_by("pk").values_list("status", flat=True)) == ["Paid", "Cancelled"]


@pytest.mark.usefixtures("database")
def test_b1_payers_at_the_deadline() -> None:
    """Payers and a worker begin at the same moment: every sale is paid or cancelled, as its companion says."""
    placed = sold(40)
    start = threading.Barrier(2)

    def pay() -> int:
        start.wait(PATIENCE)
        won = 0
        for order in placed:
            with transaction.atomic(using=ALIAS):
                rows = Sale.objects.select_for_update().filter(pk=order.sale_id, status="Pending")
                won += bool(rows) and rows.update(status="Paid")
        return won

    def lapse() -> int:
        start.wait(PATIENCE)
        lapsed = 0
        for key in reversed(keys(placed)):
            outcome = Outcome.LOCKED
            while outcome is Outcome.LOCKED:
                outcome = Companion().lapse([key])[key].outcome
            lapsed += outcome is Outcome.LAPSED
        return lapsed

    paid, lapsed = (future.result(PATIENCE) for future in [in_thread(pay), in_thread(lapse)])
    assert paid + lapsed == 40
    assert Sale.objects.filter(status="Paid", deadline__open=True).count() == paid
    assert Sale.objects.filter(status="Cancelled", deadline__open=False).count() == lapsed


@pytest.mark.usefixtures("locking")
def test_rows_that_refer_to_another_column_than_the_primary_key() -> None:
    """They are locked too: the transfer arrives while the invoice lapses, and the invoice is not cancelled."""
    invoice = Proforma.objects.create(number="2026-7", pay_by=timezone.now() - timedelta(minutes=1))
    transfer = Transfer.objects.create(invoice=invoice)
    pay = partial(Transfer.objects.filter(pk=transfer.pk).update, state="arrived")
    assert payer_first(Announced(), str(invoice.pk), pay) == (Outcome.LOCKED, Outcome.NOT_UNPAID)
