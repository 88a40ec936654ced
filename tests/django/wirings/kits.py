"""Shops for the suite of `lapse.testing.orders`: what the safe and the unsafe wirings have in common."""

from datetime import timedelta
from typing import Any, ClassVar, cast
from unittest import SkipTest

from django.db import connections, transaction
from django.db.models import F, Q
from django.utils import timezone

from lapse.integrations.django import Since, UnpaidOrders
from lapse.orders import OrderBatch
from lapse.testing.orders import OrdersConformance, State
from tests.django.databases import ALIAS
from tests.django.wirings.models import (
    Bill,
    BillLine,
    BillPayment,
    Sale,
    SaleDeadline,
    SeatOrder,
    SeatStatus,
    Stock,
)

PIECES = 2
"""How many pieces each order takes."""

ENOUGH = 1000
"""How many pieces there are at first."""

WINDOW = timedelta(minutes=30)


def give_back(orders: OrderBatch[Any], pieces: int = PIECES) -> None:
    """Make available what the orders took."""
    Stock.objects.update(pieces=F("pieces") + pieces * len(orders))


class BillOrders(UnpaidOrders[Bill]):
    """The ordinary wiring."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline: ClassVar[str | Since] = "pay_by"
    lapsed: ClassVar[Any] = {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Release the stock."""
        give_back(orders)


class Kit(OrdersConformance[Any]):
    """A shop with one product. It pays in the documented way."""

    wiring: ClassVar[type[Any]] = BillOrders
    rounds = 4
    blocked_after = timedelta(milliseconds=250)

    def orders(self) -> UnpaidOrders[Any]:
        """Return the wiring."""
        wiring: UnpaidOrders[Any] = self.wiring()
        return wiring

    def transaction(self) -> transaction.Atomic:
        """Return a transaction of the chosen database."""
        return transaction.atomic(using=ALIAS)

    def close_connections(self) -> None:
        """Close what this thread has opened."""
        connections.close_all()

    def place(self) -> Any:
        """Take the stock and make the order."""
        with self.transaction():
            Stock.objects.update(pieces=F("pieces") - PIECES)
            return self.make()

    def make(self) -> Any:
        """Make the order."""
        return Bill.objects.create(pay_by=timezone.now() + WINDOW)

    def set_deadline(self, order: Any, due_in: timedelta) -> None:
        """Write the deadline."""
        type(order).objects.filter(pk=order.pk).update(pay_by=timezone.now() + due_in)

    def pay(self, order: Any) -> bool:
        """Hold the order and record the payment."""
        with self.wiring().hold(order) as held:
            self.record(held)
        return True

    def record(self, order: Any) -> None:
        """Record the payment of an order that is locked and unpaid."""
        type(order).objects.filter(pk=order.pk).update(status="paid")

    def status(self, order: Any) -> str:
        """Read what the order is, in the words of the shop."""
        return Bill.objects.get(pk=order.pk).status

    def state(self, order: Any) -> State:
        """Read what the order is, in the words of the suite."""
        status = self.status(order).lower()
        return cast("State", {"awaiting": "unpaid", "pending": "unpaid"}.get(status, status))

    def stock(self) -> int:
        """Return the stock."""
        return sum(Stock.objects.values_list("pieces", flat=True))


def failures(kit: type[Kit], *names: str) -> dict[str, Exception]:
    """Run the tests of the kit, or only those named, each on empty tables; return the errors by the test's name."""
    found: dict[str, Exception] = {}
    for name in names or [name for name in dir(kit) if name.startswith("test_")]:
        for model in (BillLine, BillPayment, Bill, SeatOrder, SeatStatus, SaleDeadline, Sale, Stock):
            model._base_manager.all().delete()
        Stock.objects.create(pieces=ENOUGH)
        try:
            getattr(kit(), name)()
        except SkipTest:
            pass  # the shop does not extend, revive or remind
        except Exception as error:  # noqa: BLE001 - the tests look at it
            found[name] = error
    return found
