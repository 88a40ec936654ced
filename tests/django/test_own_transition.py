"""A shop with a state machine makes its own transition, which writes lines, stock and history, and is asked about."""

from datetime import timedelta
from typing import ClassVar

import pytest
from django.db import transaction
from django.db.models import F, Q
from django.db.models.signals import post_save
from django.utils import timezone

from lapse import LapseError
from lapse.integrations.django import NotUnpaid, UnpaidOrders
from lapse.orders import OrderBatch, Outcome, Sweep, WrongTransition
from tests.django.databases import ALIAS
from tests.django.wirings.models import Bill, BillLine, Stock

pytestmark = pytest.mark.usefixtures("database")


class NotAllowed(Exception):
    """The machine has no such transition."""


def set_status(bill: Bill, status: str) -> None:
    """Move the bill as a state machine does: to the same state is no move, and lines and stock follow a real one."""
    if bill.status == status:
        return
    if (bill.status, status) not in {("awaiting", "cancelled"), ("awaiting", "paid")}:
        raise NotAllowed(f"{bill.status} to {status}")
    bill.status = status
    bill.save()
    moved = bill.lines.exclude(status=status).update(status=status)
    if status == "cancelled":
        Stock.objects.update(pieces=F("pieces") + moved)


class ByTransition(UnpaidOrders[Bill]):
    """The right way: the shop's own transition, and no values."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"

    def transition(self, order: Bill) -> None:
        """Cancel as the shop does everywhere."""
        set_status(order, "cancelled")


class StatusFirst(UnpaidOrders[Bill]):
    """The wrong way: the status is written before the hook, so that the machine sees nothing to do."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Cancel as the shop does everywhere, which comes too late."""
        for order in orders:
            set_status(order, "cancelled")


def move(orders: ByTransition, bill: Bill, *states: str) -> None:
    """Move the bill from state to state while it is held."""
    with orders.hold(str(bill.pk)) as held:
        for state in states:
            set_status(held, state)


def overdue(count: int = 1, *, status: str = "awaiting") -> list[Bill]:
    """Place bills of two lines each."""
    bills = [Bill.objects.create(status=status, pay_by=timezone.now() - timedelta(minutes=1)) for _ in range(count)]
    BillLine.objects.bulk_create(BillLine(bill=bill) for bill in bills for _ in range(2))
    Stock.objects.get_or_create(pk=1)
    return bills


def pieces() -> int:
    """Return what is in stock."""
    return Stock.objects.get().pieces


def test_b2_the_machine_moves_the_lines_and_gives_the_stock_back_once() -> None:
    """Signals are sent, lines follow, and a second lapse changes nothing."""
    sent: list[str] = []

    def note(instance: Bill, **_: object) -> None:
        sent.append(instance.status)

    first, second = overdue(2)
    keys = [str(first.pk), str(second.pk)]
    post_save.connect(note, sender=Bill)
    try:
        results = ByTransition().lapse(keys)
    finally:
        post_save.disconnect(note, sender=Bill)
    assert {result.outcome for result in results.values()} == {Outcome.LAPSED}
    assert {result.outcome for result in ByTransition().lapse(keys).values()} == {Outcome.NOT_UNPAID}
    assert set(BillLine.objects.values_list("status", flat=True)) == {"cancelled"}
    assert (pieces(), sent) == (4, ["cancelled", "cancelled"])


def test_b2_status_first_is_what_the_machine_does_not_see() -> None:
    """Why transition() exists: the order is cancelled, its lines are not, and no stock comes back."""
    (bill,) = overdue()
    assert StatusFirst().lapse([str(bill.pk)])[str(bill.pk)].outcome is Outcome.LAPSED
    assert set(BillLine.objects.values_list("status", flat=True)) == {"pending"}
    assert pieces() == 0


def test_b2_a_machine_that_refuses_delays_no_other_order() -> None:
    """The bad order is reported with the machine's own error; the others lapse."""

    class Wider(ByTransition):
        unpaid = Q(status__in=["awaiting", "stuck"])

    good, bad = overdue()[0], overdue(status="stuck")[0]
    orders = Wider()
    swept = Sweep(orders.port().lapsing()).once()
    assert (swept.lapsed, swept.failed) == (1, [str(bad.pk)])
    good.refresh_from_db()
    assert good.status == "cancelled"
    with pytest.raises(NotAllowed):
        orders.lapse([str(bad.pk)])


def test_b2_a_machine_that_does_nothing_is_found_at_the_first_order() -> None:
    """The row is asked in the same transaction."""

    class Lazy(ByTransition):
        def transition(self, order: Bill) -> None:
            BillLine.objects.filter(bill=order).update(status="cancelled")

    (bill,) = overdue()
    with pytest.raises(WrongTransition, match="still count as unpaid"):
        Lazy().lapse([str(bill.pk)])
    assert set(BillLine.objects.values_list("status", flat=True)) == {"pending"}


def test_hold_is_the_way_to_pay() -> None:
    """An overdue order is paid by the machine; the lapse, a second payment and a late one are refused."""
    paid, late = overdue(2)
    orders = ByTransition()
    with orders.hold(paid) as order:
        set_status(order, "paid")
    assert orders.lapse([str(paid.pk)])[str(paid.pk)].outcome is Outcome.NOT_UNPAID
    orders.lapse([str(late.pk)])
    for refused in (paid, late):
        with pytest.raises(NotUnpaid), orders.hold(refused):
            raise AssertionError("an order was held that cannot be paid")
    assert set(Bill.objects.values_list("status", flat=True)) == {"paid", "cancelled"}


def test_hold_in_the_shops_own_transaction() -> None:
    """A refusal leaves the shop's transaction usable; an error in the block takes back the block alone."""
    first, second = overdue(2)
    orders = ByTransition()
    orders.cancel([second], by="clerk", reason="test")
    with transaction.atomic(using=ALIAS):
        with pytest.raises(LapseError), orders.hold(str(second.pk)):
            pass
        with pytest.raises(NotAllowed):
            move(orders, first, "paid", "awaiting")
        move(orders, first, "paid")
    assert list(Bill.objects.order_by("pk").values_list("status", flat=True)) == ["paid", "cancelled"]
