"""The grace of a shop: what the suite of `lapse.testing.orders` asks of the time between the deadline and the lapse."""

from lapse.orders.port import Outcome
from lapse.orders.shop import R
from lapse.testing.order_steps import OrderSteps
from lapse.testing.shop_under_test import HOUR, MINUTE
from lapse.testing.two_at_once import shadowed


class OrderGrace(OrderSteps[R]):
    """The tests of the grace. They set one of an hour, so that they find the same in a shop without a grace."""

    def test_an_order_keeps_its_stock_within_the_grace(self) -> None:
        """After the deadline and before the end of the grace, no lapse, sweep or sale takes the stock."""
        free = self.stock()
        with shadowed(self._orders, "grace", HOUR):
            order = self._placed()
            held = self.stock()
            self.set_deadline(order, -MINUTE)
            self._is_kept(order, "within its grace")
            self.place()
            self._orders.lapse_overdue()
            state, found = self.state(order), self.stock()
            assert (state, found) == ("unpaid", held - (free - held)), (
                f"after a sale within the grace of another order, that order is {state} and {found} pieces are "
                "available: a sale must ask lapse_overdue() for stock, and not compare the deadline with the time"
            )
            self.set_deadline(order, -HOUR - MINUTE)
            outcome = self._lapse(order)
            assert outcome is Outcome.LAPSED, (
                f"after its grace, an unpaid order did not lapse; the outcome is {outcome}"
            )
            self._is_cancelled(order, held, "after its grace")

    def test_an_order_can_be_paid_within_the_grace(self) -> None:
        """A payment that was begun in time is reported a minute after the deadline, and pays the order."""
        with shadowed(self._orders, "grace", HOUR):
            order = self._placed()
            held = self.stock()
            self.set_deadline(order, -MINUTE)
            self._pays(order)
            self._is_paid(order, held, "within its grace")
            self.set_deadline(order, -HOUR - MINUTE)
            self._lapse(order)
            self._is_paid(order, held, "after its grace")
