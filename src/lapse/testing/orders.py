"""The test suite for a shop's own orders: the guarantees of Lapse, on the shop's own code and its real database.

Subclass `OrdersConformance` in the shop's tests, and say how the shop places, pays and reads an order:

    class LapsingTests(OrdersConformance[Order], TransactionTestCase):
        transaction = staticmethod(transaction.atomic)
        close_connections = staticmethod(connections.close_all)

        def orders(self):
            return unpaid_orders()

        def place(self):
            tea, _ = Product.objects.get_or_create(name="tea", defaults={"stock": 1000})
            return checkout(tea, 2)

        def set_deadline(self, order, due_in):
            Order.objects.filter(pk=order.pk).update(pay_by=timezone.now() + due_in)

        def pay(self, order):
            return pay(order)

        def state(self, order):
            status = Order.objects.get(pk=order.pk).status
            return "unpaid" if status == "awaiting_payment" else status

        def stock(self):
            return Product.objects.get(name="tea").stock

The suite works with unittest and with pytest, and imports no framework. Its threads must see what a test commits: use a
`TransactionTestCase` or `django_db(transaction=True)`, and with SQLite a test database in a file.

No test waits for a deadline. The shop's own tests in the same class can use `place_overdue()` and `lapse_overdue()`.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, ClassVar

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Deadline
from lapse.orders.gateway import Ruling
from lapse.orders.hold import NotUnpaid
from lapse.orders.port import Begun, Orders, Outcome, Result
from lapse.orders.shop import OrderBatch, R
from lapse.orders.sweep import Sweep
from lapse.testing.shop_under_test import MINUTE, OrdersUnderTest, ShopUnderTest, State
from lapse.testing.two_at_once import (
    LOOK_AGAIN,
    PATIENCE,
    Standstill,
    T,
    finish_or_block,
    in_killed_process,
    in_thread,
    kill_this_process,
    shadowed,
)

__all__ = ["OrdersConformance", "OrdersUnderTest", "ShopUnderTest", "State"]

HOUR = timedelta(hours=1)

PAY_SAFELY = (
    "pay() must pay inside hold(), or by an update whose filter demands the unpaid status, and return whether the "
    "order was still unpaid; never by a plain save()"
)
LOCK_MORE = (
    "the payment changes rows that lapsing does not lock. Pay inside hold(), or name the relations that `unpaid` reads "
    "in `lock`; if `unpaid` asks for the absence of rows, declare `writers_lock` and lock that row before adding one"
)
GIVE_BACK = (
    "`on_lapse` or `transition` must give back exactly what the order took, once, in the transaction of the lapse, by "
    "statements like update(stock=F('stock') + n)"
)
NOT_BACK = (
    "A state machine whose status `lapsed` has written already does nothing: override `transition` in place of `lapsed`"
)


class OrdersConformance(ShopUnderTest[R]):
    """The suite.

    * `rounds`: how many orders a test with unforced races places. The stock must suffice for them.
    * `blocked_after`: a thread that takes longer than this in a forced race counts as waiting for a lock. A slow
      machine needs a longer time to find the same faults; the time never makes a test fail.
    """

    rounds: ClassVar[int] = 12
    blocked_after: ClassVar[timedelta] = timedelta(milliseconds=500)

    # --- one after the other ---

    def test_an_overdue_order_lapses_and_its_stock_comes_back_once(self) -> None:
        """An unpaid order lapses when it is due. Neither a second lapse nor a sweep does anything more."""
        free = self.stock()
        order = self._overdue()
        outcome = self._lapse(order)
        assert outcome is Outcome.LAPSED, (
            f"an overdue, unpaid order did not lapse; the outcome is {outcome}. `unpaid` must match an order as the "
            "checkout leaves it, and `deadline` must be the field that set_deadline() writes"
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
        self.set_deadline(order, -MINUTE)
        outcome = self._lapse(order)
        assert outcome is Outcome.NOT_UNPAID, (
            f"the lapse of a paid order returned {outcome}: the payment must change what `unpaid` reads, and `unpaid` "
            "must read what the payment changes"
        )
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
        outcome = self._cancel(order)
        assert outcome is Outcome.LAPSED, f"a person's cancel of an unpaid order returned {outcome}"
        assert not self._pay(order), f"a payment succeeded after a person had cancelled the order: {PAY_SAFELY}"
        self._is_cancelled(order, free, "after a person's cancel")
        order = self._placed()
        held = self.stock()
        self._pays(order)
        outcome = self._cancel(order)
        assert outcome is Outcome.NOT_UNPAID, f"a person's cancel of a paid order returned {outcome}: {LOCK_MORE}"
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
        assert self.state(other) == "cancelled", "an order did not lapse beside another order whose on_lapse raises"
        state = self.state(failing)
        assert state == "unpaid", f"an order whose on_lapse raised is {state}: the hook commits before the lapse does"
        self.lapse_overdue()
        self._lapse(failing)
        self._is_cancelled(failing, free, "after its on_lapse raised once")

    # --- two at the same moment, forced ---

    def test_a_lapse_comes_while_a_payment_is_not_committed(self) -> None:
        """The payment has changed its rows and has not committed. The lapse skips the order, or waits and skips it."""
        self._meets_a_payment(self._overdue(), self._lapse_once, "lapse")

    def test_a_person_cancels_while_a_payment_is_not_committed(self) -> None:
        """The payment has changed its rows and has not committed. The cancel waits, and changes nothing."""
        self._meets_a_payment(self._placed(), self._cancel, "person's cancel")

    def test_a_payment_comes_while_a_lapse_is_not_committed(self) -> None:
        """The lapse has locked and changed the order. The payment waits, and is refused."""
        free = self.stock()
        self._meets_a_lapse(free, self._overdue(), self._lapse_once)

    def test_a_payment_comes_while_a_persons_cancel_is_not_committed(self) -> None:
        """The cancel has locked and changed the order. The payment waits, and is refused."""
        free = self.stock()
        self._meets_a_lapse(free, self._placed(), self._cancel)

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

    def test_a_process_killed_after_step_one(self) -> None:
        """The process ends after step one is committed: the order has lapsed, or its attempts are still open."""
        self._dies_between_the_steps(in_step_one=True)

    def test_a_process_killed_before_step_three(self) -> None:
        """The process ends when the gateways have closed the attempts, and before their rulings are recorded."""
        self._dies_between_the_steps(in_step_one=False)

    # --- many, unforced ---

    def test_payments_lapses_and_sweeps_at_the_same_moment(self) -> None:
        """A payment, two lapses and a sweep come at once, for one order after another: each order has one end."""
        free = self.stock()
        placed = [self._overdue() for _ in range(self.rounds)]
        taken = (free - self.stock()) // self.rounds
        start = threading.Barrier(4, timeout=PATIENCE)

        def at_once(act: Callable[[R], T]) -> "Future[list[T]]":
            def each() -> list[T]:
                found = []
                try:
                    for order in placed:
                        start.wait()
                        found.append(act(order))
                except BaseException:
                    start.abort()  # the other threads do not wait for this one
                    raise
                return found

            return in_thread(each, self.close_connections)

        payer = at_once(self._pay)
        lapsers = [at_once(self._lapse_once) for _ in range(2)]
        sweeper = at_once(lambda _: self.lapse_overdue())
        paid = _result(payer, *lapsers, sweeper)
        for order in placed:
            self._lapse(order)
        paid_keys = {self.key(order) for order, took in zip(placed, paid, strict=True) if took}
        for order in placed:
            expected = "paid" if self.key(order) in paid_keys else "cancelled"
            state = self.state(order)
            assert state == expected, (
                f"pay() and a lapse came at once and the order is {state}, not {expected}: {LOCK_MORE}"
            )
        found, right = self.stock(), free - taken * len(paid_keys)
        assert found == right, f"{found} pieces are available after the races, not {right}: {GIVE_BACK}"

    # --- how ---

    def _placed(self) -> R:
        """Place an order and return it, after a look at whether the tests can work with it."""
        free = self.stock()
        order = self.place()
        assert self.stock() < free, "place() took nothing from stock(): count the product that place() orders"
        assert self.state(order) == "unpaid", f"place() returned an order that is {self.state(order)}"
        try:
            seen = self._in_thread(lambda: self.state(order)).result(PATIENCE)
        except Exception as error:
            raise AssertionError(
                "another connection cannot read the order. Use a TransactionTestCase or django_db(transaction=True), "
                "which commit, and for SQLite a test database in a file (DATABASES: TEST: NAME)"
            ) from error
        assert seen == "unpaid", f"another connection reads that the new order is {seen}"
        return order

    def _overdue(self) -> R:
        order = self._placed()
        self.set_deadline(order, -MINUTE)
        return order

    def _pay(self, order: R) -> bool:
        try:
            paid = self.pay(order)
        except NotUnpaid:
            return False
        assert isinstance(paid, bool), f"pay() returned {paid!r}: return True if it paid the order, else False"
        return paid

    def _pays(self, order: R) -> None:
        assert self._pay(order), "pay() returned False for an unpaid order that is not due"
        state = self.state(order)
        assert state == "paid", f"pay() returned True and the order is {state}"

    def _lapse_once(self, order: R) -> Outcome:
        return self._orders.lapse([self.key(order)])[self.key(order)].outcome

    def _lapse(self, order: R) -> Outcome:
        """Lapse the order and return the outcome; repeat this as long as another transaction has locked the order."""
        end = SYSTEM_CLOCK.monotonic() + PATIENCE
        while (outcome := self._lapse_once(order)) is Outcome.LOCKED:
            assert SYSTEM_CLOCK.monotonic() < end, f"the order was locked for {PATIENCE:g} s"
            SYSTEM_CLOCK.sleep(LOOK_AGAIN)
        return outcome

    def _cancel(self, order: R) -> Outcome:
        return self._orders.cancel([order], by="a test", reason="test")[self.key(order)].outcome

    def _in_thread(self, work: Callable[[], T]) -> "Future[T]":
        return in_thread(work, self.close_connections)

    def _meets_a_payment(self, order: R, end: Callable[[R], Outcome], name: str) -> None:
        """Let a lapse or a cancel come while the payment has done its work and has not committed."""
        held = self.stock()
        standstill = Standstill()

        def pay() -> bool:
            with self.transaction():
                paid = self._pay(order)
                standstill.stand()
            return paid

        payment = self._in_thread(pay)
        try:
            standstill.reached_by(payment)
            ending = self._in_thread(lambda: end(order))
            finish_or_block(ending, self.blocked_after)
        finally:
            standstill.release()
        paid, outcome = _result(payment, ending), _result(ending)
        if not paid:  # the shop takes no money for an order that is overdue
            assert self._lapse(order) is not Outcome.NOT_DUE, "pay() returned False for an unpaid order that is not due"
            return
        self._lapse(order)
        state = self.state(order)
        assert (state, outcome is Outcome.LAPSED) == ("paid", False), (
            f"a {name} came while a payment was not committed: pay() returned True, the {name} returned {outcome}, and "
            f"the order is {state}. A paid order was cancelled: {LOCK_MORE}"
        )
        self._is_paid(order, held, f"after a {name} came while a payment was not committed")

    def _meets_a_lapse(self, free: int, order: R, end: Callable[[R], Outcome]) -> None:
        """Let a payment come while the lapse or the cancel has done its work and has not committed."""
        outcome, paid = self._while_one_lapses(lambda: end(order), lambda: self._pay(order))
        state = self.state(order)
        assert (state, paid) == ("cancelled", False), (
            f"a payment came while a lapse was not committed: the lapse returned {outcome}, pay() returned {paid}, and "
            f"the order is {state}. {PAY_SAFELY}"
        )
        self._is_cancelled(order, free, "after a payment came while a lapse was not committed")

    def _while_one_lapses(self, lapse: Callable[[], Outcome], meanwhile: Callable[[], T]) -> tuple[Outcome, T]:
        """Run `meanwhile` while the lapse stands still behind its hook, and return what both returned."""
        hook = self._orders.on_lapse
        standstill = Standstill()

        def stand_behind(batch: OrderBatch[R]) -> None:
            hook(batch)
            standstill.stand()

        with shadowed(self._orders, "on_lapse", stand_behind):
            lapsing = self._in_thread(lapse)
            try:
                if not standstill.reached_by(lapsing):
                    raise AssertionError(f"the lapse did not call on_lapse; it returned {_result(lapsing)}")
                other = self._in_thread(meanwhile)
                finish_or_block(other, self.blocked_after)
            finally:
                standstill.release()
            return _result(lapsing, other), _result(other)

    def _dies_in_on_lapse(self, die: Callable[[OrderBatch[R]], None]) -> None:
        """Kill a process in `on_lapse`, and let this process lapse the order."""
        free = self.stock()
        order = self._overdue()

        def lapse() -> None:
            with shadowed(self._orders, "on_lapse", die):
                self._lapse_once(order)

        self._dies(lapse, order, free, "after a process was killed inside the transaction of the lapse")

    def _dies_between_the_steps(self, *, in_step_one: bool) -> None:
        """Kill a process after step one or before step three, and let this process lapse the order."""
        free = self.stock()
        order = self._placed()
        self.begin_payment(order)
        self.set_deadline(order, -MINUTE)
        lapsing = self._orders.port().lapsing()
        lapsing.orders = _Dying(lapsing.orders, in_step_one=in_step_one)
        self._dies(
            lambda: lapsing.lapse([self.key(order)]), order, free, "after a process was killed between two steps"
        )

    def _dies(self, lapse: Callable[[], object], order: R, free: int, when: str) -> None:
        self.close_connections()  # a forked process must not use the connections of this one
        assert in_killed_process(lapse), "the lapse in another process failed before the test could kill it, see stderr"
        self._lapse(order)
        self._is_cancelled(order, free, when)

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
        assert found == held, f"{when} {found} pieces are available, not {held}: a paid order must keep what it took"

    def _is_kept(self, order: R, when: str) -> None:
        """Assert that neither a lapse nor a sweep touches the unpaid order."""
        held = self.stock()
        outcome = self._lapse(order)
        assert outcome is Outcome.NOT_DUE, f"{when} the lapse returned {outcome}: see set_deadline() and `deadline`"
        self.lapse_overdue()
        state, found = self.state(order), self.stock()
        assert (state, found) == ("unpaid", held), (
            f"{when} the order is {state}, with {found} pieces available, not {held}"
        )

    def _overdue_keys(self) -> set[str]:
        return {deadline.key for deadline in self._orders.port().overdue(1000)}


class _Dying:
    """A port that kills the process after step one, or before step three if there is an attempt to close."""

    def __init__(self, orders: Orders, *, in_step_one: bool) -> None:
        self._orders = orders
        self._in_step_one = in_step_one

    def begin(self, keys: Sequence[str]) -> Begun:
        begun = self._orders.begin(keys)
        if self._in_step_one or not begun.attempts:
            kill_this_process()
        return begun

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        kill_this_process()
        return self._orders.finish(rulings)

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        return self._orders.overdue(limit, grace=grace, after=after)

    def deadlines(self) -> Iterable[Deadline]:
        return self._orders.deadlines()


def _result(future: "Future[T]", *others: "Future[Any]") -> T:
    """Return the future's result when all are done. Raises the first error, and not the one of a thread it ended."""
    errors = [each.exception(PATIENCE) for each in (future, *others)]
    for error in errors:
        if error is not None and not isinstance(error, threading.BrokenBarrierError):
            raise error
    return future.result()
