"""The part of the suite of `lapse.testing.orders` about more time: orders that are extended, and revived."""

from datetime import UTC, datetime, timedelta
from unittest import SkipTest

from lapse.engine.errors import ConfigError
from lapse.orders.extending import Extended
from lapse.orders.port import Outcome
from lapse.orders.reviving import Revived
from lapse.orders.shop import R
from lapse.testing.order_races import OrderRaces

MORE = timedelta(hours=3)
"""An extended or revived order is due so long after now. That is later than the deadline of any order of the suite."""

TAKE_AGAIN = (
    "`reinstate` must take exactly what the order took, by a conditional update, and make the order unpaid. `lapsed`, "
    "`transition` and `on_lapse` must then work on it as on a new order"
)


class OrderTime(OrderRaces[R]):
    """What a merchant's extension and revival must keep. A shop that cannot do one of them sees its tests skipped."""

    def test_an_extended_order_lapses_at_its_new_deadline_and_not_before(self) -> None:
        """A person extends an overdue order: it keeps its stock, and lapses once its new deadline has passed.

        Skipped in a shop whose `deadline` is `Since`.
        """
        free = self.stock()
        order = self._overdue()
        outcome = self._extend(order)
        assert outcome is Extended.EXTENDED, f"an overdue, unpaid order could not be extended; the outcome is {outcome}"
        self._is_kept(order, "after it was extended")
        self._make_overdue(order)
        self._lapse(order)
        self._is_cancelled(order, free, "after it was extended and its new deadline passed")

    def test_an_extended_order_can_be_paid(self) -> None:
        """A person extends an overdue order, and the buyer pays. Skipped in a shop whose `deadline` is `Since`."""
        order = self._overdue()
        held = self.stock()
        self._extend(order)
        self._pays(order)
        assert self._extend(order) is Extended.NOT_UNPAID, "a paid order was extended: `unpaid` matches it"
        self._is_paid(order, held, "after it was extended")

    def test_an_extension_comes_while_a_payment_is_not_committed(self) -> None:
        """The payment has changed its rows and has not committed. The extension waits, and changes nothing.

        Skipped in a shop whose `deadline` is `Since`.
        """
        self._extend(self._placed())  # skips the test before a thread is started
        self._meets_a_payment(self._placed(), lambda order: self._extend(order) is Extended.EXTENDED, "extension")

    def test_a_revived_order_is_cancelled_again_and_its_stock_comes_back_once(self) -> None:
        """It takes its stock again, waits for its payment until the new deadline, and then lapses as a new order does.

        Skipped in a shop without `reinstate` and `was_cancelled`, and in one whose `deadline` is `Since`.
        """
        free = self.stock()
        order = self._overdue()
        held = self.stock()
        self._lapse(order)
        outcome, found = self._revive(order), self.stock()
        assert outcome is Revived.REVIVED, f"a lapsed order could not be revived; the outcome is {outcome}"
        assert found == held, f"{found} pieces are available after a revival, not {held}: {TAKE_AGAIN}"
        self._is_kept(order, "after it was revived")
        again = self._revive(order)
        assert again is Revived.NOT_CANCELLED, f"an unpaid order was revived; the outcome is {again}: {TAKE_AGAIN}"
        self._make_overdue(order)
        lapsed = self._lapse(order)
        assert lapsed is Outcome.LAPSED, f"a revived order did not lapse; the outcome is {lapsed}: {TAKE_AGAIN}"
        self._is_cancelled(order, free, "after it was revived and cancelled again")

    def test_a_revived_order_can_be_paid(self) -> None:
        """The payment sells what the revived order holds. Skipped where orders cannot be revived."""
        order = self._overdue()
        held = self.stock()
        self._lapse(order)
        self._revive(order)
        self._pays(order)
        self._is_paid(order, held, "after it was revived")

    def _make_overdue(self, order: R) -> None:
        self.set_deadline(order, -timedelta(minutes=1) - self._orders.grace)

    def _extend(self, order: R) -> Extended:
        until = datetime.now(UTC) + MORE
        try:
            return self._orders.extend([order], until=until, by="a test", reason="test")[self.key(order)]
        except ConfigError as error:
            raise SkipTest(f"this shop cannot extend orders: {error}") from error

    def _revive(self, order: R) -> Revived:
        until = datetime.now(UTC) + MORE
        try:
            return self._orders.revive([order], until=until, by="a test", reason="test")[self.key(order)]
        except ConfigError as error:
            raise SkipTest(f"this shop cannot revive orders: {error}") from error
