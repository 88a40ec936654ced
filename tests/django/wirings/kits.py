"""Shops for the suite of `lapse.testing.orders`: what the safe and the unsafe wirings have in common."""

from datetime import timedelta
from typing import Any, ClassVar

from django.db import connections, models, transaction
from django.db.models import F, Q
from django.utils import timezone

from lapse.integrations.django import UnpaidOrders
from lapse.orders import OrderBatch
from lapse.testing.orders import OrdersConformance, State
from tests.django.databases import ALIAS
from tests.django.wirings.models import Bill, BillLine, Stock

PIECES = 2
"""How many pieces each order takes."""

WINDOW = timedelta(minutes=30)


class Till(models.Model):
    """A status in a table of its own."""

    name = models.CharField(max_length=20, unique=True)

    def __str__(self) -> str:
        return self.name


class Ticket(models.Model):
    """An order whose status is a foreign key."""

    status = models.ForeignKey(Till, models.PROTECT)
    pay_by = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"ticket {self.pk}: {self.status}"


def give_back(count: int, pieces: int = PIECES) -> None:
    """Make available what so many orders took."""
    Stock.objects.update(pieces=F("pieces") + pieces * count)


class BillOrders(UnpaidOrders[Bill]):
    """The ordinary, safe wiring."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[Any] = {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Release the stock."""
        give_back(len(orders))


class Kit(OrdersConformance[Any]):
    """A shop with one product."""

    wiring: ClassVar[type[UnpaidOrders[Any]]] = BillOrders
    rounds = 6
    blocked_after = timedelta(milliseconds=300)

    def orders(self) -> UnpaidOrders[Any]:
        """Return the wiring."""
        return self.wiring()

    def transaction(self) -> transaction.Atomic:
        """Open a transaction."""
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
        """Pay in the blessed way."""
        with self._orders.hold(order) as held:  # type: ignore[attr-defined]
            held.status = "paid"
            held.save()
        return True

    def state(self, order: Any) -> State:
        """Read the status."""
        status = Bill.objects.get(pk=order.pk).status
        return {"awaiting": "unpaid"}.get(status, status)  # type: ignore[return-value]

    def stock(self) -> int:
        """Read the stock."""
        return Stock.objects.get().pieces


def failures(kit: type[Kit], *names: str) -> dict[str, Exception]:
    """Run the tests of the kit, or only those named, each on empty tables; return the errors by the test's name."""
    found: dict[str, Exception] = {}
    for name in names or [name for name in dir(kit) if name.startswith("test_")]:
        for model in (BillLine, Bill, Ticket, Stock):
            model._base_manager.all().delete()
        Stock.objects.create(pieces=1000)
        try:
            getattr(kit(), name)()
        except Exception as error:  # noqa: BLE001 - what the tests look at
            found[name] = error
    return found
