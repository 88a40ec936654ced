"""What the commands run: the orders seen from a process that has no requests."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import connections

from lapse.engine.deadline import Deadline
from lapse.engine.events import Hook
from lapse.integrations.django.db_errors import drop_outlived_connection
from lapse.integrations.django.settings import timer
from lapse.integrations.django.thread_connections import tidy
from lapse.integrations.django.unpaid_orders import UnpaidOrders
from lapse.orders.gateway import Ruling
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Begun, Result
from lapse.orders.sweep import Sweep

GRACE = timedelta(seconds=1)
"""How long after its deadline the sweep leaves an order to the timer, where there is one."""


class BackgroundOrders:
    """The same orders, with the care for connections that requests take elsewhere."""

    def __init__(self, orders: UnpaidOrders[Any]) -> None:
        self._orders = orders

    def overdue(
        self, limit: int, *, grace: timedelta = timedelta(0), after: Deadline | None = None
    ) -> Sequence[Deadline]:
        """List them, as the shop's orders do."""
        drop_outlived_connection(self._orders.using)
        return self._orders.overdue(limit, grace=grace, after=after)

    def deadlines(self) -> Iterable[Deadline]:
        """Stream them, as the shop's orders do."""
        drop_outlived_connection(self._orders.using)
        return self._orders.deadlines()

    def begin(self, keys: Sequence[str]) -> Begun:
        """Step one, as the shop's orders do it."""
        drop_outlived_connection(self._orders.using)
        return self._orders.begin(keys)

    def finish(self, rulings: Sequence[Ruling]) -> Mapping[str, Result]:
        """Step three, as the shop's orders do it."""
        drop_outlived_connection(self._orders.using)
        return self._orders.finish(rulings)


def background_lapsing(orders: UnpaidOrders[Any]) -> Lapsing:
    """Lapse these orders from a worker's thread."""
    return Lapsing(BackgroundOrders(orders), tidy(orders.gateways))


class SweepThread(Sweep):
    """A sweep that gives back its thread's database connections when it ends."""

    def run(self) -> None:
        """Sweep until `stop`."""
        try:
            super().run()
        finally:
            connections.close_all()


def background_sweep(
    orders: UnpaidOrders[Any], *, every: timedelta, batch: int, hooks: Iterable[Hook], with_timer: bool
) -> SweepThread:
    """Sweep these orders; where there is a timer, it goes first."""
    grace = GRACE if with_timer else timedelta(0)
    return SweepThread(
        background_lapsing(orders),
        every=every,
        batch=batch,
        grace=grace,
        timer=orders.name,
        disarm=_disarm if with_timer else None,
        hooks=hooks,
    )


def _disarm(keys: Sequence[str]) -> None:
    opened = timer()
    if opened is not None:
        opened.disarm(keys)
