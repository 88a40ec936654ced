"""The ordinary wiring of the model Bill: a test changes one attribute of it."""

from typing import ClassVar

from django.db.models import F, Q

from lapse.integrations.django import UnpaidOrders
from lapse.orders import OrderBatch
from tests.django.wirings.models import Bill, Stock


class Bills(UnpaidOrders[Bill]):
    """Cancels by values, and adds one piece to the stock for each bill."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Add one piece to the stock for each."""
        Stock.objects.update(pieces=F("pieces") + len(orders))
