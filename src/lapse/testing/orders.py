"""The test suite for a shop's own orders: the guarantees of Lapse, on the shop's own code and its real database.

Subclass `OrdersConformance` in the shop's tests, and say how the shop places, pays and reads an order:

    class LapsingTests(OrdersConformance[Order], TransactionTestCase):
        orders = staticmethod(unpaid_orders)
        transaction = staticmethod(transaction.atomic)
        close_connections = staticmethod(connections.close_all)

        def setUp(self):
            self.tea = Product.objects.create(name="tea", stock=1000)

        def place(self):
            return checkout(self.tea, 2)

        def set_deadline(self, order, due_in):
            Order.objects.filter(pk=order.pk).update(pay_by=timezone.now() + due_in)

        def pay(self, order):
            return pay(order)

        def state(self, order):
            status = Order.objects.get(pk=order.pk).status
            return "unpaid" if status == "awaiting_payment" else status

        def stock(self):
            return Product.objects.get(pk=self.tea.pk).stock

The suite works with unittest and with pytest, and imports no framework. Its threads must see what a test commits: use a
`TransactionTestCase` or `django_db(transaction=True)`, and with SQLite a test database in a file.

No test waits for a deadline. The shop's own tests in the same class can use `place_overdue()` and `lapse_overdue()`.
"""

from lapse.orders.port import Outcome
from lapse.orders.shop import OrderBatch, R
from lapse.orders.sweep import Sweep
from lapse.testing.order_grace import OrderGrace
from lapse.testing.order_reminders import OrderReminders
from lapse.testing.order_steps import GIVE_BACK, LOCK_MORE, OVERWRITTEN, PAY_SAFELY, READ_IT
from lapse.testing.order_time import OrderTime
from lapse.testing.shop_under_test import HOUR, MINUTE, OrdersUnderTest, ShopUnderTest, State
from lapse.testing.two_at_once import kill_this_process, shadowed

__all__ = ["OrdersConformance", "OrdersUnderTest", "ShopUnderTest", "State"]


class OrdersConformance(OrderTime[R], OrderGrace[R], OrderReminders[R]):
    """The suite. See `ShopUnderTest` for what a subclass writes."""

    # --- one after the other ---

    def test_an_overdue_order_lapses_and_its_stock_comes_back_once(self) -> None:
        """An unpaid order lapses when it is due. Neither a second lapse nor a sweep does anything more."""
        free = self.stock()
        order = self._overdue()
        outcome = self._lapse(order)
        assert outcome is Outcome.LAPSED, (
            f"an overdue, unpaid order did not lapse; the outcome is {outcome}. `unpaid` must match an order as the "
            "checkout leaves it, `deadline` must be what set_deadline() writes, and `postpone` must not keep the order"
        )
        self._is_cancelled(order, free, "after a lapse")

    def test_a_sweep_finds_an_overdue_order(self) -> None:
        """An order that no timer knows lapses all the same."""
        free = self.stock()
        order = self._overdue()
        assert self.key(order) in self._overdue_keys(), (
            "a sweep does not find an overdue order: see `unpaid` and `model`"
        )
        self.lapse_overdue()
        self._is_cancelled(order, free, "after a sweep")

    def test_orders_of_one_product_lapse_in_one_batch(self) -> None:
        """The hook gets several orders at once, as from every busy worker, and releases the stock of each."""
        free = self.stock()
        orders = [self._overdue() for _ in range(3)]
        self._orders.lapse([self.key(order) for order in orders])
        for order in orders:
            self._is_cancelled(order, free, f"after {len(orders)} orders lapsed in one batch")

    def test_the_stock_comes_back_before_the_commit(self) -> None:
        """A process that dies between the commit and a later release of the stock would lose the stock."""
        free = self.stock()
        order = self._overdue()
        hook = self._orders.on_lapse
        found = []

        def look(batch: OrderBatch[R]) -> None:
            hook(batch)
            found.append(self.stock())

        with shadowed(self._orders, "on_lapse", look):
            self._lapse(order)
        assert found == [free], (
            f"before the commit of a lapse {found} pieces are available, though there are {free}: release the stock in "
            "the transaction, and not by on_commit(), a task or another service"
        )
        self._is_cancelled(order, free, "after a lapse")

    def test_an_order_that_is_not_due_does_not_lapse(self) -> None:
        """An order keeps its stock until its deadline."""
        order = self._placed()
        self._is_kept(order, "before its deadline")

    def test_an_order_whose_deadline_was_extended_does_not_lapse(self) -> None:
        """The deadline in the database counts, even if an earlier deadline was armed and fires."""
        order = self._overdue()
        self.set_deadline(order, HOUR)
        self._is_kept(order, "after its deadline was extended")

    def test_a_paid_order_never_lapses(self) -> None:
        """A deadline that passes after the payment changes nothing."""
        order = self._placed()
        held = self.stock()
        self._pays(order)
        self.set_deadline(order, -MINUTE - self._orders.grace)
        outcome = self._lapse(order)
        assert outcome is Outcome.NOT_UNPAID, f"the lapse of a paid order returned {outcome}: {READ_IT}"
        self._is_paid(order, held, "after its deadline passed")

    def test_a_lapsed_order_cannot_be_paid(self) -> None:
        """A payment that comes after the lapse is refused, even with an instance that was read before."""
        free = self.stock()
        order = self._overdue()
        self._lapse(order)
        assert not self._pay(order), f"a payment succeeded after the order had lapsed: {PAY_SAFELY}"
        self._is_cancelled(order, free, "after a payment that came too late")

    def test_a_person_cancels_only_an_unpaid_order(self) -> None:
        """A person's cancel gives the stock back once. It refuses a paid order, and a later payment is refused."""
        free = self.stock()
        order = self._placed()
        assert self.cancel(order), "a person's cancel of an unpaid order cancelled nothing"
        assert not self._pay(order), f"a payment succeeded after a person had cancelled the order: {PAY_SAFELY}"
        self._is_cancelled(order, free, "after a person's cancel")
        order = self._placed()
        held = self.stock()
        self._pays(order)
        assert not self.cancel(order), f"a person's cancel of a paid order cancelled it: {READ_IT}"
        self._is_paid(order, held, "after a person's cancel")

    def test_an_order_whose_hook_raises_stops_no_other_order(self) -> None:
        """The other order lapses. The failing order keeps its stock, and lapses once its hook works again."""
        free = self.stock()
        failing, other = self._overdue(), self._overdue()
        hook = self._orders.on_lapse

        def fail(batch: OrderBatch[R]) -> None:
            hook(batch)
            if self.key(failing) in [self.key(order) for order in batch]:
                raise LookupError("raised by the test")

        with shadowed(self._orders, "on_lapse", fail):
            Sweep(self._orders.port().lapsing(), hooks=()).once()
        beside = self.state(other)
        self._lapse(other)  # raises the hook's own error if the hook has one
        assert beside == "cancelled", f"beside an order whose on_lapse raises, another order is {beside}, not cancelled"
        state = self.state(failing)
        assert state == "unpaid", f"an order whose on_lapse raised is {state}: the hook commits before the lapse does"
        self._lapse(failing)
        self._is_cancelled(failing, free, "after its on_lapse raised once")

    # --- two at the same moment, forced ---

    def test_a_lapse_comes_while_a_payment_is_not_committed(self) -> None:
        """The payment has changed its rows and has not committed. The lapse skips the order, or waits and skips it."""
        self._meets_a_payment(self._overdue(), self._lapses, "lapse")

    def test_a_person_cancels_while_a_payment_is_not_committed(self) -> None:
        """The payment has changed its rows and has not committed. The cancel waits, and changes nothing."""
        self._meets_a_payment(self._placed(), self.cancel, "person's cancel")

    def test_a_payment_comes_while_a_lapse_is_not_committed(self) -> None:
        """The lapse has locked and changed the order. The payment waits, and is refused."""
        free = self.stock()
        self._meets_a_lapse(free, self._overdue(), self._lapses)

    def test_a_payment_comes_while_a_persons_cancel_is_not_committed(self) -> None:
        """The cancel has locked and changed the order. The payment waits, and is refused."""
        free = self.stock()
        self._meets_a_lapse(free, self._placed(), self.cancel)

    def test_two_lapses_of_one_order_at_the_same_moment(self) -> None:
        """The second lapse comes while the first is not committed: the stock comes back once."""
        free = self.stock()
        order = self._overdue()
        first, second = self._while_one_lapses(lambda: self._lapse_once(order), lambda: self._lapse_once(order))
        assert [first, second].count(Outcome.LAPSED) == 1, f"two lapses of one order returned {first} and {second}"
        self._is_cancelled(order, free, "after two lapses at the same moment")

    def test_two_orders_of_one_product_lapse_at_the_same_moment(self) -> None:
        """Neither lapse overwrites what the other gives back."""
        free = self.stock()
        one, other = self._overdue(), self._overdue()
        self._while_one_lapses(lambda: self._lapse_once(one), lambda: self._lapse_once(other))
        for order in (one, other):
            self._lapse(order)
        self._is_cancelled(one, free, "after two orders of one product lapsed at the same moment")

    def test_a_sale_while_an_order_of_the_product_lapses(self) -> None:
        """Neither the sale nor the lapse overwrites what the other did to the stock."""
        order = self._overdue()
        held = self.stock()
        self._while_one_lapses(lambda: self._lapse_once(order), self.place)
        found = self.stock()
        assert found == held, (
            f"an order lapsed while its product was sold: {found} pieces are available, not {held}. The checkout and "
            f"on_lapse must not read the stock and write it afterwards: {GIVE_BACK}"
        )

    # --- a process that is killed ---

    def test_a_process_killed_before_the_stock_came_back(self) -> None:
        """The process ends inside the transaction, before `on_lapse`. Another process lapses the order."""
        self._dies_in_on_lapse(lambda _: kill_this_process())

    def test_a_process_killed_before_the_commit(self) -> None:
        """The process ends inside the transaction, after `on_lapse`. Another process lapses the order, once."""
        hook = self._orders.on_lapse

        def die(batch: OrderBatch[R]) -> None:
            hook(batch)
            kill_this_process()

        self._dies_in_on_lapse(die)

    def test_a_process_killed_before_the_gateway_is_called(self) -> None:
        """The order is closing and its attempts are still open. In a shop without gateways, the order has lapsed."""
        self._dies_between_the_steps(in_step_one=True)

    def test_a_process_killed_between_the_gateway_and_the_cancellation(self) -> None:
        """The gateways have closed the attempts, and no ruling is recorded. Without gateways, the order has lapsed."""
        self._dies_between_the_steps(in_step_one=False)

    def test_a_payment_that_is_killed_before_its_commit_has_not_happened(self) -> None:
        """The process ends when the payment has done its work. The order is unpaid, and lapses."""
        free = self.stock()
        order = self._overdue()

        def pay() -> None:
            with self.transaction():
                self._pay(order)
                kill_this_process()

        self._dies(pay, order, free, "after a process was killed before the commit of a payment")

    # --- a payment between the steps ---

    def test_a_payment_comes_before_the_gateway_is_called(self) -> None:
        """The order is closing and its attempts are still open. In a shop without gateways, the order has lapsed."""
        self._paid_between_the_steps(in_step_one=True)

    def test_a_payment_comes_between_the_gateway_and_the_cancellation(self) -> None:
        """The order is closing and its attempts are closed. In a shop without gateways, the order has lapsed."""
        self._paid_between_the_steps(in_step_one=False)

    # --- many, unforced ---

    def test_payments_lapses_and_sweeps_at_the_same_moment(self) -> None:
        """A payment, two lapses and a sweep come at once, for one order after another: each order has one end."""
        free = self.stock()
        placed = [self._overdue() for _ in range(self.rounds)]
        taken = (free - self.stock()) // self.rounds
        paid, *_ = self._at_once(placed, self._pay, self._lapse_once, self._lapse_once, lambda _: self.lapse_overdue())
        for order, took in zip(placed, paid, strict=True):
            self._lapse(order)
            state = self.state(order)
            assert state == ("paid" if took else "cancelled"), (
                f"a payment and a lapse came at the same moment: pay() returned {took}, and the order is {state}: "
                f"{LOCK_MORE}"
            )
        found, right = self.stock(), free - taken * paid.count(True)
        advice = f"{OVERWRITTEN}. If no payment does so: {GIVE_BACK}" if found > right else GIVE_BACK
        assert found == right, f"{found} pieces are available after the races, not {right}. {advice}"

    def test_sales_while_orders_lapse(self) -> None:
        """A sale and a lapse come at once, for one order after another: no sale fails, and no piece is lost."""
        placed = [self._overdue() for _ in range(self.rounds)]
        held = self.stock()

        def sell(_: R) -> None:
            try:
                self.place()
            except Exception as error:
                raise AssertionError(
                    f"a sale failed while an order lapsed: {error}. `on_lapse` must change the rows of the stock in "
                    "the same sequence as the checkout, for example sorted by primary key"
                ) from error

        self._at_once(placed, sell, self._lapse_once)
        for order in placed:
            self._lapse(order)
        found = self.stock()
        assert found == held, f"{found} pieces are available after sales and lapses, not {held}: {GIVE_BACK}"
