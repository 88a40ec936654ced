"""The races of the suite of `lapse.testing.orders`: two at the same moment, a process that is killed, many at once."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, TypeVar

from lapse.engine.deadline import Deadline
from lapse.orders.gateway import Ruling
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Begun, Orders, Result
from lapse.orders.shop import OrderBatch, R
from lapse.testing.order_steps import LOCK_MORE, PAY_SAFELY, OrderSteps
from lapse.testing.shop_under_test import MINUTE
from lapse.testing.two_at_once import (
    PATIENCE,
    Standstill,
    T,
    finish_or_block,
    in_killed_process,
    in_thread,
    kill_this_process,
    shadowed,
)

S = TypeVar("S")


class OrderRaces(OrderSteps[R]):
    """What the tests of the suite let happen at the same moment.

    * `rounds`: how many orders a test with unforced races places. The stock must suffice for twice as many.
    * `blocked_after`: a thread that takes longer than this in a forced race counts as waiting for a lock. A slow
      machine needs a longer time to find the same faults. The time never makes a test fail.
    """

    rounds: ClassVar[int] = 12
    blocked_after: ClassVar[timedelta] = timedelta(milliseconds=500)

    def _in_thread(self, work: Callable[[], T]) -> "Future[T]":
        return in_thread(work, self.close_connections)

    def _meets_a_payment(self, order: R, end: Callable[[R], bool], name: str) -> None:
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
        paid, cancelled = _result(payment, ending), _result(ending)
        if not paid:  # a shop may take no money for an order that is overdue
            assert end != self.cancel, "pay() returned False for an unpaid order that is not due"
            return
        self._lapse(order)
        state = self.state(order)
        assert (state, cancelled) == ("paid", False), (
            f"a {name} came while a payment was not committed: pay() returned True, the {name} cancelled "
            f"{'the order' if cancelled else 'nothing'}, and the order is {state}. {LOCK_MORE}"
        )
        self._is_paid(order, held, f"after a {name} came while a payment was not committed")

    def _meets_a_lapse(self, free: int, order: R, end: Callable[[R], bool]) -> None:
        """Let a payment come while the lapse or the cancel has done its work and has not committed."""
        cancelled, paid = self._while_one_lapses(lambda: end(order), lambda: self._pay(order))
        state = self.state(order)
        assert (state, cancelled, paid) == ("cancelled", True, False), (
            f"a payment came while a lapse was not committed: the lapse cancelled "
            f"{'the order' if cancelled else 'nothing'}, pay() returned {paid}, and the order is {state}. {PAY_SAFELY}"
        )
        self._is_cancelled(order, free, "after a payment came while a lapse was not committed")

    def _while_one_lapses(self, lapse: Callable[[], S], meanwhile: Callable[[], T]) -> tuple[S, T]:
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
        order = self._overdue_with_attempt()
        lapsing = self._interrupted(kill_this_process, in_step_one=in_step_one)
        when = f"after a process was killed {_between(in_step_one=in_step_one)}"
        self._dies(lambda: lapsing.lapse([self.key(order)]), order, free, when)

    def _dies(self, work: Callable[[], object], order: R, free: int, when: str) -> None:
        """Let the work kill its process, and let this process lapse the order."""
        self.close_connections()  # a forked process must not use the connections of this one
        error = in_killed_process(work)
        assert error is None, f"another process failed before the test could kill it:\n{error}"
        self._lapse(order)
        self._is_cancelled(order, free, when)

    def _paid_between_the_steps(self, *, in_step_one: bool) -> None:
        """Pay the order after step one or before step three of its lapse."""
        free = self.stock()
        order = self._overdue_with_attempt()
        held = self.stock()
        paid: list[bool] = []
        lapsing = self._interrupted(lambda: paid.append(self._pay(order)), in_step_one=in_step_one)
        outcome = lapsing.lapse([self.key(order)])[self.key(order)].outcome
        when = f"after a payment {_between(in_step_one=in_step_one)}, and the lapse returned {outcome},"
        if any(paid):
            self._is_paid(order, held, when)
        else:
            self._lapse(order)
            self._is_cancelled(order, free, when)

    def _overdue_with_attempt(self) -> R:
        order = self._placed()
        self.begin_payment(order)
        self.set_deadline(order, -MINUTE - self._orders.grace)
        return order

    def _interrupted(self, act: Callable[[], object], *, in_step_one: bool) -> Lapsing:
        lapsing = self._orders.port().lapsing()
        lapsing.orders = _Interrupted(lapsing.orders, act, in_step_one=in_step_one)
        return lapsing

    def _at_once(self, orders: Sequence[R], *acts: Callable[[R], Any]) -> list[list[Any]]:
        """Do all of these with one order after another, each in its thread, all begun at the same moment.

        Return the results: a list for each act, in the sequence of the orders.
        """
        start = threading.Barrier(len(acts), timeout=PATIENCE)

        def run(act: Callable[[R], Any]) -> list[Any]:
            found = []
            try:
                for order in orders:
                    start.wait()
                    found.append(act(order))
            except BaseException:
                start.abort()  # the other threads do not wait for this one
                raise
            return found

        running = [self._in_thread(partial(run, act)) for act in acts]
        return [_result(one, *running) for one in running]


class _Interrupted:
    """A port that acts after step one, or before step three if there is an attempt to close."""

    def __init__(self, orders: Orders, act: Callable[[], object], *, in_step_one: bool) -> None:
        self._orders = orders
        self._act = act
        self._in_step_one = in_step_one

    def begin(self, keys: Sequence[str]) -> Begun:
        begun = self._orders.begin(keys)
        if self._in_step_one or not begun.attempts:
            self._act()
        return begun

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        if not self._in_step_one:
            self._act()
        return self._orders.finish(rulings)

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        return self._orders.overdue(limit, grace=grace, after=after)

    def deadlines(self) -> Iterable[Deadline]:
        return self._orders.deadlines()

    def unreadable(self, limit: int) -> Mapping[str, str]:
        return self._orders.unreadable(limit)


def _between(*, in_step_one: bool) -> str:
    """Return when the suite acts, in the words of a shop without gateways as well."""
    place = "before the gateway was called" if in_step_one else "between the call to the gateway and the cancellation"
    return f"{place} (in a shop without gateways: right after the lapse)"


def _result(future: "Future[T]", *others: "Future[Any]") -> T:
    """Return the future's result when all are done. Raises the first error, and not the one of a thread it ended."""
    errors = [each.exception(PATIENCE) for each in (future, *others)]
    for error in errors:
        if error is not None and not isinstance(error, threading.BrokenBarrierError):
            raise error
    return future.result()
