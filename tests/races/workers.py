"""The processes of a shop under a machine: each can die at any step, and another goes on with nothing in its memory."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.db import connections

from lapse.engine.backoff import Backoff
from lapse.integrations.django import UnpaidOrders
from lapse.integrations.django.gateway_work import GatewayWork
from lapse.orders import reconciling
from lapse.orders.calls import GatewayCalls
from lapse.orders.closing import Closing
from tests.races.faults import Fault, FaultyGateway
from tests.races.processes import Process

on_read: Any = sys.modules["lapse.integrations.django.unpaid_orders"]
"""The module, which a function of the same name hides."""

T = TypeVar("T")

AT_ONCE = Backoff(first=timedelta(microseconds=1), most=timedelta(microseconds=2))
PATIENCE = timedelta(seconds=20)
IMPATIENCE = timedelta(milliseconds=20)


class Workers:
    """One process at a time does all work. Calls of an earlier process that hang end later, unless the process died."""

    def __init__(
        self,
        shop: type[UnpaidOrders[Any]],
        faulty: FaultyGateway,
        started: Callable[[UnpaidOrders[Any]], None] = lambda _: None,
    ) -> None:
        self._shop = shop
        self._started = started
        self._faulty = faulty
        self._all: list[tuple[Process, GatewayCalls]] = []
        self.restart()

    def restart(self) -> None:
        """Begin another process, which knows only what the database knows. The calls of earlier ones go on."""
        self.process = Process()
        self.calls = GatewayCalls(threads=1, after_call=connections.close_all)
        self.orders = self._shop()
        work = GatewayWork()
        work.closing = Closing(self.calls, backoff=AT_ONCE)
        vars(self.orders)["_gateway_work_shared"] = work
        self._all.append((self.process, self.calls))
        self._started(self.orders)

    def act(self, work: Callable[[Any], T], *, steps: int | None) -> T | None:
        """Let the process do this work, and die after so many steps. Return the result, or None if it died."""
        hangs = self._faulty.fault is Fault.HANGS or self._faulty.hanging[self.process]
        patience = IMPATIENCE if hangs else PATIENCE
        reconciling.PATIENCE = on_read.READ_WAIT = self.calls.budget = patience
        result = self.process.run(lambda: work(self.orders), steps=steps)
        self.wait_for_threads()
        if self.process.is_dead:
            self.restart()
        return result

    def lapse(self, orders: UnpaidOrders[Any]) -> None:
        """Lapse all overdue orders."""
        keys = [deadline.key for deadline in orders.port().overdue(100)]
        orders.lapse(keys, wait=self.calls.budget)

    def recover(self) -> None:
        """End the gateway's fault, and let the answers come that hang."""
        self._faulty.fault = Fault.NONE
        self._faulty.release()
        self.wait_for_threads()

    def wait_for_threads(self) -> None:
        """Wait until each thread of every process has ended, or hangs at the gateway."""
        give_up_at = time.monotonic() + 30
        while any(_threads(calls) != self._faulty.hanging[process] for process, calls in self._all):
            assert time.monotonic() < give_up_at, "a gateway's thread did not end"
            time.sleep(0.0005)


def _threads(calls: GatewayCalls) -> int:
    return sum(line._threads for line in calls._lines().values())
