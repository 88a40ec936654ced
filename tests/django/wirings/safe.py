"""Wirings with which the suite passes: each stands for a kind of shop."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from django.db import OperationalError
from django.db.models import F, Q
from django.utils import timezone

from lapse.integrations.django import Since, UnpaidOrders
from lapse.integrations.django.rows.transactions import is_deadlock
from lapse.orders import Attempt, OrderBatch, Ruling, Verdict
from tests.django.wirings.kits import PIECES, WINDOW, BillOrders, Kit, give_back
from tests.django.wirings.models import Bill, BillLine, BillPayment, Sale, SaleDeadline, SeatOrder, SeatStatus, Stock


class ConditionalUpdate(Kit):
    """The payment is one update, whose count says whether it paid."""

    def pay(self, order: Any) -> bool:
        """Pay the order if it is unpaid."""
        return bool(Bill.objects.filter(pk=order.pk, status="awaiting").update(status="paid"))


class Reviving(Kit):
    """A lapsed order can be revived: it takes its stock again, if there is enough."""

    class Orders(BillOrders):
        """The two hooks of a revival."""

        def was_cancelled(self, order: Bill) -> bool:
            """Read the status."""
            return order.status == "cancelled"

        def reinstate(self, order: Bill) -> bool:
            """Take the stock by a conditional update."""
            Bill.objects.filter(pk=order.pk).update(status="awaiting")
            return bool(Stock.objects.filter(pieces__gte=PIECES).update(pieces=F("pieces") - PIECES))

    wiring: ClassVar[type[Any]] = Orders


class PaidFlag(Kit):
    """A1: `unpaid` reads what the payment writes, and the status that `lapsed` writes as well."""

    class Orders(BillOrders):
        """Paid or not is a flag."""

        unpaid = Q(paid=False, status="awaiting")

    wiring: ClassVar[type[Any]] = Orders

    def record(self, order: Any) -> None:
        """Set the flag."""
        Bill.objects.filter(pk=order.pk).update(paid=True)

    def status(self, order: Any) -> str:
        """Read the flag first."""
        bill = Bill.objects.get(pk=order.pk)
        return "paid" if bill.paid else bill.status


class Received(PaidFlag):
    """A1: the money that has come is compared with the total."""

    class Orders(BillOrders):
        """Less has come than the total."""

        unpaid = Q(received__lt=F("total"), status="awaiting")

    wiring: ClassVar[type[Any]] = Orders

    def record(self, order: Any) -> None:
        """Add the money."""
        Bill.objects.filter(pk=order.pk).update(received=F("received") + F("total"), paid=True)


class Lines(Kit):
    """A4: an order is unpaid as long as a line is pending, and has two lines."""

    class Orders(BillOrders):
        """The lines are locked with the order."""

        unpaid = Q(lines__status="pending")
        lapsed: ClassVar[Any] = {"status": "cancelled"}
        lock: ClassVar[Any] = ("lines",)

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Cancel the lines."""
            BillLine.objects.filter(bill__in=list(orders)).update(status="cancelled")
            give_back(orders)

    wiring: ClassVar[type[Any]] = Orders

    def make(self) -> Bill:
        """Make an order with two lines."""
        bill: Bill = super().make()
        BillLine.objects.bulk_create([BillLine(bill=bill), BillLine(bill=bill)])
        return bill

    def pay(self, order: Any) -> bool:
        """Pay each line by an update that demands that it is pending.

        It locks lines without their order. In a small table, MariaDB reads every line for that. So the update may be
        the victim of a deadlock with a lapse of other orders. It is repeated, as a shop on MariaDB has to do.
        """
        for left in reversed(range(10)):
            try:
                return bool(BillLine.objects.filter(bill=order, status="pending").update(status="paid"))
            except OperationalError as error:
                if not (left and is_deadlock(error)):
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def status(self, order: Any) -> str:
        """Read the lines, which agree."""
        (status,) = BillLine.objects.filter(bill=order).values_list("status", flat=True).distinct()
        return status


class Companion(Kit):
    """B1: the deadline is in a companion of an order whose model is not the shop's own."""

    class Orders(UnpaidOrders[SaleDeadline]):
        """The sale is locked with its companion."""

        model = SaleDeadline
        unpaid = Q(open=True, sale__status="Pending")
        deadline = "pay_by"
        lapsed: ClassVar[Any] = {"open": False}
        lock: ClassVar[Any] = ("sale",)

        def on_lapse(self, orders: OrderBatch[SaleDeadline]) -> None:
            """Cancel the sales."""
            Sale.objects.filter(deadline__in=list(orders)).update(status="Cancelled")
            give_back(orders)

    wiring: ClassVar[type[Any]] = Orders

    def make(self) -> SaleDeadline:
        """Make the sale and its companion."""
        return SaleDeadline.objects.create(sale=Sale.objects.create(), pay_by=timezone.now() + WINDOW)

    def pay(self, order: SaleDeadline) -> bool:
        """Pay the sale as its own application does, which knows nothing of the companion."""
        with self.transaction():
            sale = Sale.objects.select_for_update().get(pk=order.sale_id)
            if sale.status != "Pending":
                return False
            sale.status = "Paid"
            sale.save()
        return True

    def status(self, order: SaleDeadline) -> str:
        """Read the sale."""
        return Sale.objects.get(pk=order.sale_id).status


class StateMachine(Kit):
    """B2: the shop cancels an order by its own transition, which does nothing the second time."""

    class Orders(BillOrders):
        """The transition is the shop's."""

        lapsed: ClassVar[Any] = {}

        def transition(self, order: Bill) -> None:
            """Cancel the order as the shop does everywhere."""
            set_cancelled(order)

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Do nothing: the transition has done everything."""

    wiring: ClassVar[type[Any]] = Orders


def set_cancelled(order: Bill) -> None:
    """Cancel the order and release its stock, unless it is cancelled."""
    if order.status == "cancelled":
        return
    order.status = "cancelled"
    order.save()
    give_back(OrderBatch([order], reason="", actor=""))


class InTheHook(Kit):
    """B3: `lapsed` is empty, and the hook makes the transition."""

    class Orders(BillOrders):
        """Nothing is declared."""

        lapsed: ClassVar[Any] = {}

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Do everything."""
            for order in orders:
                set_cancelled(order)

    wiring: ClassVar[type[Any]] = Orders


class StatusIsAForeignKey(Kit):
    """A6: the status is a row of another table, named by its key."""

    class Orders(UnpaidOrders[SeatOrder]):
        """The rows of the statuses never change."""

        model = SeatOrder
        unpaid = Q(status=1)
        deadline = "pay_by"
        lapsed: ClassVar[Any] = {"status": 3}

        def on_lapse(self, orders: OrderBatch[SeatOrder]) -> None:
            """Release the stock."""
            give_back(orders)

    wiring: ClassVar[type[Any]] = Orders

    def make(self) -> SeatOrder:
        """Make the order, and before the first one the statuses."""
        for key, name in enumerate(["awaiting", "paid", "cancelled"], start=1):
            SeatStatus.objects.get_or_create(pk=key, defaults={"name": name})
        return SeatOrder.objects.create(status_id=1, pay_by=timezone.now() + WINDOW)

    def record(self, order: SeatOrder) -> None:
        """Write the other key."""
        order.status_id = 2
        order.save()

    def status(self, order: SeatOrder) -> str:
        """Read the name."""
        return SeatOrder.objects.get(pk=order.pk).status.name


class Absence(Kit):
    """An order is unpaid as long as no payment refers to it, and each payment locks the order first."""

    class Orders(BillOrders):
        """The order's own row is the one that writers lock."""

        unpaid = Q(status="awaiting") & ~Q(payments__state="done")
        writers_lock: ClassVar[Any] = "self"

    wiring: ClassVar[type[Any]] = Orders

    def record(self, order: Bill) -> None:
        """Add the payment; the order is locked."""
        BillPayment.objects.create(bill=order)

    def status(self, order: Bill) -> str:
        """Read whether there is a payment that counts, and the status otherwise."""
        bill = Bill.objects.get(pk=order.pk)
        return "paid" if bill.status == "awaiting" and bill.payments.exists() else bill.status


class Till:
    """A payment provider whose attempts can always be closed."""

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt."""
        return Ruling(attempt, Verdict.CLOSED)


class Gateway(Kit):
    """The attempts of an order are closed at a gateway before it lapses; meanwhile it is closing."""

    class Orders(BillOrders):
        """Three steps."""

        unpaid = Q(status__in=["awaiting", "closing"])
        closing: ClassVar[Any] = {"status": "closing"}
        gateways: ClassVar[Any] = {"till": Till()}

        def open_attempts(self, orders: Sequence[Bill]) -> list[Attempt]:
            """Return one attempt for each order."""
            return [Attempt(str(order.pk), reference=f"bill-{order.pk}", gateway="till") for order in orders]

    wiring: ClassVar[type[Any]] = Orders

    def status(self, order: Any) -> str:
        """Read the status."""
        return super().status(order).replace("closing", "awaiting")


class TwoProducts(Kit):
    """B6: an order takes pieces of two products, whose rows the lapse and the checkout change in one sequence."""

    class Orders(BillOrders):
        """The hook takes a moment, as hooks do."""

        sequence = (1, 2)

        def on_lapse(self, orders: OrderBatch[Bill]) -> None:
            """Release the stock, product by product."""
            for pk in self.sequence:
                Stock.objects.filter(pk=pk).update(pieces=F("pieces") + len(orders))
                time.sleep(0.02)

    wiring: ClassVar[type[Any]] = Orders

    def place(self) -> Any:
        """Take one piece of each product."""
        for pk in (1, 2):
            Stock.objects.get_or_create(pk=pk, defaults={"pieces": 0})
        with self.transaction():
            for pk in (1, 2):
                Stock.objects.filter(pk=pk).update(pieces=F("pieces") - 1)
                time.sleep(0.02)
            return self.make()


class SincePlacing(Kit):
    """B4: there is no column with the deadline."""

    class Orders(BillOrders):
        """The deadline is counted."""

        deadline: ClassVar[Any] = Since("placed_at", minutes=30)

    wiring: ClassVar[type[Any]] = Orders

    def make(self) -> Bill:
        """Make an order that says when it was placed."""
        return Bill.objects.create(placed_at=timezone.now())

    def set_deadline(self, order: Any, due_in: timedelta) -> None:
        """Write when it would have been placed."""
        Bill.objects.filter(pk=order.pk).update(placed_at=timezone.now() + due_in - WINDOW)


SAFE = [
    Kit,
    ConditionalUpdate,
    Reviving,
    PaidFlag,
    Received,
    Lines,
    Companion,
    StateMachine,
    InTheHook,
    StatusIsAForeignKey,
    Absence,
    Gateway,
    TwoProducts,
    SincePlacing,
]
