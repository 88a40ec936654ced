"""The reminders of a shop: what the suite of `lapse.testing.orders` asks of them. A shop without reminders skips it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from unittest import SkipTest

from lapse.orders.port import Outcome
from lapse.orders.shop import OrderBatch, R
from lapse.testing.order_steps import OrderSteps
from lapse.testing.shop_under_test import MINUTE
from lapse.testing.two_at_once import shadowed

ONCE = (
    "`remind` is the time before the deadline, and `reminded` a field that only Lapse writes: the checkout, a payment "
    "and set_deadline() must leave it alone"
)


class OrderReminders(OrderSteps[R]):
    """The tests of the reminders."""

    def test_an_order_is_reminded_of_once_for_each_deadline(self) -> None:
        """No reminder comes before its time, one in time, and another one only for another deadline."""
        remind = self._remind()
        order = self._placed()
        with self._reminders() as reminded:
            self.set_deadline(order, remind + MINUTE)
            self._reminded(order)
            assert reminded == [], f"an order was reminded of more than {remind} before its deadline. {ONCE}"
            self.set_deadline(order, remind / 2)
            self._reminded(order)
            self._reminded(order)
            assert reminded == [self.key(order)], f"an order was reminded of {len(reminded)} times, not once. {ONCE}"
            self.set_deadline(order, remind / 3)
            self._reminded(order)
            assert reminded == [self.key(order)] * 2, f"another deadline had no reminder of its own. {ONCE}"
        assert self.state(order) == "unpaid", f"after a reminder the order is {self.state(order)}: on_remind changed it"

    def test_only_an_unpaid_order_before_its_deadline_is_reminded_of(self) -> None:
        """No buyer is reminded of an order that is paid, cancelled or overdue."""
        remind = self._remind()
        paid, cancelled, overdue = self._placed(), self._placed(), self._placed()
        for order in (paid, cancelled):
            self.set_deadline(order, remind / 2)
        self._pays(paid)
        self.cancel(cancelled)
        self.set_deadline(overdue, -MINUTE)
        with self._reminders() as reminded:
            for order in (paid, cancelled, overdue):
                self._reminded(order)
        self.set_deadline(overdue, -MINUTE - self._orders.grace)
        self._lapse(overdue)
        assert reminded == [], f"{len(reminded)} orders that are paid, cancelled or overdue were reminded of. {ONCE}"

    def test_a_reminder_that_raises_comes_later(self) -> None:
        """Its transaction is rolled back, so that the next try is not the second reminder."""
        remind = self._remind()
        order = self._placed()
        self.set_deadline(order, remind / 2)
        hook = self._orders.on_remind

        def fail(batch: OrderBatch[R]) -> None:
            hook(batch)
            raise LookupError("raised by the test")

        with shadowed(self._orders, "on_remind", fail):
            try:
                self._reminded(order)
            except LookupError:
                pass
            else:
                raise AssertionError("on_remind() was not called for an order that is due for its reminder")
        with self._reminders() as reminded:
            assert self._reminded(order) is Outcome.REMINDED, "after on_remind() raised once, no reminder came any more"
        assert reminded == [self.key(order)], f"after on_remind() raised once, it was called for {reminded}"

    def _remind(self) -> timedelta:
        if self._orders.remind is None:
            raise SkipTest("the shop declares no `remind`")
        return self._orders.remind

    def _reminded(self, order: R) -> Outcome:
        """Try to remind of the order, as a worker does, and return the outcome."""
        reminders = self._orders.reminders()
        assert reminders is not None, "reminders() returned None, although `remind` is declared"
        return reminders.lapse([self.key(order)])[self.key(order)].outcome

    @contextmanager
    def _reminders(self) -> Iterator[list[str]]:
        """Call the shop's hook as well, and collect the keys of the orders that it receives."""
        hook, found = self._orders.on_remind, list[str]()

        def look(batch: OrderBatch[R]) -> None:
            hook(batch)
            found.extend(self.key(order) for order in batch)

        with shadowed(self._orders, "on_remind", look):
            yield found
