"""The steps of the suite of `lapse.testing.orders`, and what it asserts after them, with the advice for a shop."""

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.orders.hold import NotUnpaid
from lapse.orders.port import Outcome
from lapse.orders.shop import R
from lapse.testing.shop_under_test import MINUTE, ShopUnderTest
from lapse.testing.two_at_once import LOOK_AGAIN, PATIENCE, in_thread

PAY_SAFELY = (
    "Pay inside hold(), or by an update whose filter demands the unpaid status, and return whether the order "
    "was still unpaid; never by a plain save()"
)
LOCK_MORE = (
    "The payment changes rows that lapsing does not lock. Pay inside hold(), or name the relations that `unpaid` reads "
    "in `lock`; if `unpaid` asks for the absence of rows, declare `writers_lock` and lock that row before adding one"
)
OVERWRITTEN = (
    "The likely cause is a payment without hold(): it made an order paid that had lapsed, and whose stock was given "
    f"back. {PAY_SAFELY}"
)
GIVE_BACK = (
    "`on_lapse` or `transition` must give back exactly what the order took, once, in the transaction of the lapse, by "
    "statements like update(stock=F('stock') + n)"
)
READ_IT = "the payment must change what `unpaid` reads, and `unpaid` must read what the payment changes"
NOT_BACK = (
    "A state machine whose status `lapsed` has written already does nothing: override `transition` in place of `lapsed`"
)


class OrderSteps(ShopUnderTest[R]):
    """What the tests of the suite do with an order, and how they judge it."""

    def _placed(self) -> R:
        """Place an order and return it, after a look at whether the tests can work with it."""
        free = self.stock()
        order = self.place()
        assert self.stock() < free, (
            "place() took nothing from stock(): count the product that place() orders. If a sale lapses the overdue "
            "orders of its buyer, let place() use another buyer for each order"
        )
        assert self.state(order) == "unpaid", f"place() returned an order that is {self.state(order)}"
        try:
            seen = in_thread(lambda: self.state(order), self.close_connections).result(PATIENCE)
        except Exception as error:
            raise AssertionError(
                "another connection cannot read the order. Use a TransactionTestCase or django_db(transaction=True), "
                "which commit, and for SQLite a test database in a file (DATABASES: TEST: NAME)"
            ) from error
        assert seen == "unpaid", f"another connection reads that the new order is {seen}"
        return order

    def _overdue(self) -> R:
        order = self._placed()
        self.set_deadline(order, -MINUTE - self._orders.grace)
        return order

    def _pay(self, order: R) -> bool:
        try:
            paid = self.pay(order)
        except NotUnpaid:
            return False
        except Exception as error:
            error.add_note("pay() raised this. If it means that the order cannot be paid any more, return False")
            raise
        assert isinstance(paid, bool), f"pay() returned {paid!r}: return True if it paid the order, else False"
        return paid

    def _pays(self, order: R) -> None:
        assert self._pay(order), "pay() returned False for an unpaid order that is not due"
        state = self.state(order)
        assert state == "paid", f"pay() returned True and the order is {state}"

    def _lapse_once(self, order: R) -> Outcome:
        return self._orders.lapse([self.key(order)])[self.key(order)].outcome

    def _lapses(self, order: R) -> bool:
        return self._lapse_once(order) is Outcome.LAPSED

    def _lapse(self, order: R) -> Outcome:
        """Lapse the order and return the outcome; repeat this as long as another transaction has locked the order."""
        end = SYSTEM_CLOCK.monotonic() + PATIENCE
        while (outcome := self._lapse_once(order)) is Outcome.LOCKED:
            assert SYSTEM_CLOCK.monotonic() < end, f"the order was locked for {PATIENCE:g} s"
            SYSTEM_CLOCK.sleep(LOOK_AGAIN)
        return outcome

    def _is_cancelled(self, order: R, free: int, when: str) -> None:
        """Assert that the order is cancelled, that its stock is back, and that nothing more ever happens to it."""
        state, found = self.state(order), self.stock()
        assert state == "cancelled", (
            f"{when} the order is {state}, not cancelled: `lapsed` or `transition` must cancel it"
        )
        assert found >= free, f"{when} only {found} of {free} pieces are available. {GIVE_BACK}. {NOT_BACK}"
        assert found == free, f"{when} {found} pieces are available, though there are {free}: {GIVE_BACK}"
        outcome = self._lapse(order)
        assert outcome is Outcome.NOT_UNPAID, (
            f"{when} the order still counts as unpaid: another lapse returned {outcome}"
        )
        assert self.key(order) not in self._overdue_keys(), f"{when} a sweep still finds the order"
        self.lapse_overdue()
        found = self.stock()
        assert found == free, f"{when} a sweep gave the stock back again: {found} pieces, though there are {free}"

    def _is_paid(self, order: R, held: int, when: str) -> None:
        """Assert that the order is paid and keeps its stock, and that no sweep finds it."""
        assert self.key(order) not in self._overdue_keys(), f"{when} a sweep finds the paid order: `unpaid` matches it"
        self.lapse_overdue()
        state, found = self.state(order), self.stock()
        assert state == "paid", f"{when} the paid order is {state}: {LOCK_MORE}"
        assert found == held, (
            f"{when} {found} pieces are available, not {held}: a paid order must keep what it took. {OVERWRITTEN}"
        )

    def _is_kept(self, order: R, when: str) -> None:
        """Assert that neither a lapse nor a sweep touches the unpaid order."""
        held = self.stock()
        outcome = self._lapse(order)
        assert outcome is Outcome.NOT_DUE, (
            f"{when} the lapse returned {outcome}. `deadline` must be what the checkout and set_deadline() write, and "
            "be stored in UTC: `manage.py check --database default` compares the clocks"
        )
        self.lapse_overdue()
        state, found = self.state(order), self.stock()
        assert (state, found) == ("unpaid", held), (
            f"{when} the order is {state}, with {found} pieces available, not {held}"
        )

    def _overdue_keys(self) -> set[str]:
        return {deadline.key for deadline in self._orders.port().overdue(1000)}
