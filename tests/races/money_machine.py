"""A stateful model of a shop and its buyers, for hypothesis: anything may happen in any sequence; no money is lost.

The rules are what may happen: buyers pay, notifies are lost, doubled and late, a gateway is silent, a process dies
between any two of its steps. After each rule the books must agree. At the end everything settles: then each order is in
one end state, and all money is on a paid order, or refunded, or on the work list.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, invariant, multiple, rule

from lapse.orders import LateMoney
from tests.races.faults import Fault

DIES = st.none() | st.integers(0, 40)
"""After how many steps the process dies; None: it goes on."""
WHICH = st.integers(0, 1)
"""An order's first link or its second."""
RARELY = st.integers(0, 3).map(lambda number: number == 3)
PEOPLE = st.sampled_from(["buyer", "merchant"])


def money_machine(  # noqa: C901 - a stateful model is one class made of many small rules
    open_world: Callable[[LateMoney], Any],
) -> type[RuleBasedStateMachine]:
    """Return the state machine class; each call of `open_world` opens a shop without orders."""

    class MoneyMachine(RuleBasedStateMachine):
        orders = Bundle("orders")
        notifies = Bundle("notifies")

        @initialize(target=orders, policy=st.sampled_from(LateMoney))
        def open(self, policy: LateMoney) -> Any:
            """Begin with an order that can be paid: nothing happens to money without one."""
            self.world = open_world(policy)
            self.links: dict[Any, list[str]] = defaultdict(list)
            order = self.world.place()
            self.link(order)
            return order

        @rule(target=orders, linked=st.booleans())
        def place(self, *, linked: bool) -> MultipleResults[Any]:
            if (order := self.world.place()) is None:
                return multiple()
            if linked:
                self.link(order)
            return multiple(order)

        @rule(order=orders)
        def link(self, order: Any) -> None:
            if (link := self.world.link(order)) is not None and link not in self.links[order]:
                self.links[order].append(link)

        @rule(order=orders, which=WHICH)
        def scan(self, order: Any, which: int) -> None:
            for link in self.links[order][which:][:1]:
                self.world.scan(link)

        @rule(target=notifies, order=orders, which=WHICH, part=RARELY)
        def pay(self, order: Any, which: int, *, part: bool) -> MultipleResults[Any]:
            links = self.links[order][which:][:1]
            return self._reports(link for link in links if self.world.pay(link, part=part))

        @rule(target=notifies, order=orders, which=WHICH)
        def report(self, order: Any, which: int) -> MultipleResults[Any]:
            return self._reports(self.links[order][which:][:1])

        @rule(notify=notifies, dies=DIES)
        def deliver(self, notify: Any, dies: int | None) -> None:
            self.world.deliver(notify, steps=dies)

        @rule(target=notifies, order=orders, which=WHICH, part=st.booleans())
        def refund_in_console(self, order: Any, which: int, *, part: bool) -> MultipleResults[Any]:
            links = self.links[order][which:][:1]
            for link in links:
                self.world.refund_in_console(link, part=part)
            return self._reports(links)

        @rule(order=orders, by=PEOPLE, dies=DIES)
        def cancel(self, order: Any, by: str, dies: int | None) -> None:
            self.world.cancel(order, by=by, steps=dies)

        @rule(order=orders, more=st.booleans())
        def time_passes(self, order: Any, *, more: bool) -> None:
            """The order's time is over, or is extended."""
            if more:
                self.world.extend(order)
            else:
                self.world.come_due(order)

        @rule(order=orders, dies=DIES)
        def lapse(self, order: Any, dies: int | None) -> None:
            self.world.come_due(order)
            self.world.lapse(steps=dies)

        @rule(dies=DIES)
        def reconcile(self, dies: int | None) -> None:
            self.world.reconcile(steps=dies)

        @rule(fault=st.sampled_from(Fault))
        def gateway_fails(self, fault: Fault) -> None:
            """The gateway has another fault, or none. Calls that hang go on hanging."""
            self.world.faulty.fault = fault

        @rule()
        def gateway_recovers(self) -> None:
            """The gateway answers again. The answers come that hang, and another process goes on."""
            self.world.workers.recover()
            self.world.workers.restart()

        @invariant()
        def the_books_agree(self) -> None:
            if hasattr(self, "world"):
                self.world.check()

        def teardown(self) -> None:
            if hasattr(self, "world"):
                self.world.settle()
                self.world.check_settled()

        def _reports(self, links: Iterable[str]) -> MultipleResults[Any]:
            reports = (self.world.report(link) for link in links)
            return multiple(*(report for report in reports if report is not None))

    return MoneyMachine
