"""What the suite of `lapse.testing.orders` needs to know of a shop, and how a test lets the time of an order pass."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, Protocol

from lapse.orders.extending import Extended
from lapse.orders.lapsing import Lapsing
from lapse.orders.port import Orders, Outcome, Result
from lapse.orders.reviving import Revived
from lapse.orders.shop import OrderBatch, R
from lapse.orders.sweep import Sweep, Swept

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

State = Literal["unpaid", "paid", "cancelled"]
"""What the shop says of an order. An order whose attempts are being closed is "unpaid"."""


class LapsingOrders(Orders, Protocol):
    """The port of a shop's orders, with the `Lapsing` that works on it."""

    def lapsing(self) -> Lapsing:
        """Return a `Lapsing` for these orders and the shop's gateways."""
        ...


class OrdersUnderTest(Protocol[R]):
    """What the suite uses of a shop's orders. `lapse.integrations.django.UnpaidOrders` has all of it."""

    key: ClassVar[str]
    grace: ClassVar[timedelta]
    remind: ClassVar[timedelta | None]

    def lapse(self, keys: Collection[str]) -> Mapping[str, Result]:
        """Lapse the orders that are unpaid and due. Return the result for every key."""
        ...

    def cancel(self, orders: Iterable[R], *, by: str, reason: str) -> Mapping[str, Result]:
        """Cancel unpaid orders for a person. Return the result for every key."""
        ...

    def extend(self, orders: Iterable[R], *, until: datetime, by: str, reason: str) -> Mapping[str, Extended]:
        """Move the deadlines of unpaid orders for a person; return what became of each. Raises ConfigError."""
        ...

    def revive(self, orders: Iterable[R], *, until: datetime, by: str, reason: str) -> Mapping[str, Revived]:
        """Make cancelled orders unpaid again for a person; return what became of each. Raises ConfigError."""
        ...

    def on_lapse(self, orders: OrderBatch[R]) -> None:
        """Make the stock of these orders available again."""
        ...

    def lapse_overdue(self) -> Mapping[str, Result]:
        """Lapse overdue orders, as a sale does to get their stock. Return the result of each."""
        ...

    def reminders(self) -> Lapsing | None:
        """Return what a worker runs for the reminders; None if the shop sends none."""
        ...

    def on_remind(self, orders: OrderBatch[R]) -> None:
        """Write the reminders of these orders, in the transaction that marks them."""
        ...

    def port(self) -> LapsingOrders:
        """Return the port for a worker and a sweep."""
        ...


class ShopUnderTest(Generic[R]):
    """A shop, as its tests describe it. A subclass overrides the methods that raise NotImplementedError."""

    def orders(self) -> OrdersUnderTest[R]:
        """Return the shop's `UnpaidOrders`, the object that the shop uses everywhere."""
        raise NotImplementedError("orders() returns your UnpaidOrders, as unpaid_orders() does")

    def place(self) -> R:
        """Place an order by the shop's own checkout and return it, an instance of the `model` of `orders()`.

        The order is unpaid, due later than in a minute, and takes at least one piece from the stock. Every call takes
        the same number of pieces.
        """
        raise NotImplementedError("place() places an unpaid order by your checkout and returns it")

    def set_deadline(self, order: R, due_in: timedelta) -> None:
        """Write into the order's row that its announced deadline is so long after now; a negative time: before now."""
        raise NotImplementedError("set_deadline(order, due_in) writes now + due_in as the order's deadline")

    def pay(self, order: R) -> bool:
        """Pay the order by the shop's own code, as its gateway's notification does. Return whether that paid it.

        `order` is as it was when it was placed. NotUnpaid, which `hold` raises, counts as False.
        """
        raise NotImplementedError("pay(order) pays by your own code and returns whether that paid the order")

    def state(self, order: R) -> State:
        """Read the order from the database and return what it is now: "unpaid", "paid" or "cancelled".

        The suite sees nothing else of the order. Assert here what must agree with the status, such as the lines.
        """
        raise NotImplementedError('state(order) reads the order and returns "unpaid", "paid" or "cancelled"')

    def stock(self) -> int:
        """Return how many pieces of what `place` orders are available to other buyers, read from the database."""
        raise NotImplementedError("stock() reads how many pieces are available to other buyers")

    def transaction(self) -> AbstractContextManager[Any]:
        """Return a transaction of the orders' database, in which the suite calls `pay`: `transaction.atomic()`."""
        raise NotImplementedError("write: transaction = staticmethod(transaction.atomic)")

    def close_connections(self) -> None:
        """Close the database connections of the thread that calls."""
        raise NotImplementedError("write: close_connections = staticmethod(connections.close_all)")

    def key(self, order: R) -> str:
        """Return the order's key in the timer: by default the text of the field that `orders().key` names."""
        return str(getattr(order, self._orders.key))

    def cancel(self, order: R) -> bool:
        """Cancel the order for a person, due or not, and return whether that cancelled it.

        A shop whose reasons are listed, or with more to do, overrides this by its own code.
        """
        return self._orders.cancel([order], by="a test", reason="test")[self.key(order)].outcome is Outcome.LAPSED

    def begin_payment(self, order: R) -> None:
        """Do nothing, or open an attempt to pay at the shop's gateway: a lapse then has to close the attempt first."""

    def place_overdue(self) -> R:
        """Place an order, let its time to pay pass without waiting, and return the order."""
        order = self.place()
        self.set_deadline(order, -MINUTE - self._orders.grace)
        return order

    def lapse_overdue(self) -> Swept:
        """Lapse every overdue order, as a worker's sweep does, and return what became of the orders."""
        return Sweep(self._orders.port().lapsing()).once()

    @cached_property
    def _orders(self) -> OrdersUnderTest[R]:
        """The one object of a test, whose hooks the suite replaces for a moment."""
        return self.orders()
