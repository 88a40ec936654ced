"""What a shop says of its orders: what is written into a row that is cancelled, and the hooks around it."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Generic, TypeVar, overload

from lapse.orders.gateway import Attempt, Gateway, Ruling

R = TypeVar("R")
"""A framework's row: an order as the hooks of the shop get it."""

Values = Mapping[str, object]
"""Values by the name of the field. A framework may take expressions, such as the database's own time."""

ValuesOf = Values | Callable[..., Values]
"""Values to write, or a function of the reason and the actor that returns them."""


class OrderBatch(Sequence[R]):
    """Locked rows that one transaction changed for one `reason`, by one `actor`, with their new values."""

    def __init__(self, orders: Sequence[R], *, reason: str, actor: str) -> None:
        self._orders = orders
        self.reason = reason
        self.actor = actor

    def __len__(self) -> int:
        return len(self._orders)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...
    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        return self._orders[index]

    def __repr__(self) -> str:
        return f"<{len(self)} orders, reason={self.reason!r}, actor={self.actor!r}>"


class Shop(Generic[R]):
    """What a shop declares of its orders, the same in every framework. The base class of a framework inherits it.

    * `lapsed`: what is written into a row that is cancelled. The row must no longer count as unpaid afterwards.
    * `closing`: what is written into a row while its open attempts to pay are being closed, or None to write nothing.
      The row must still count as unpaid, so that another process goes on after a crash. The shop must open no new
      attempt for such an order.
    * `reason_field`: the field that keeps the first reason to cancel the order; None keeps no reason. The field is
      written when the order begins to close, or with `lapsed`, and never overwritten. Empty text or null means no
      reason yet; a payment must write that again.
    * `gateways`: gateway by the name that stands in `Attempt.gateway`.
    * `name`: the timer's name.

    `lapsed` and `closing` may also be functions of (reason, actor) that return the values. The timer's reason is
    "expired" and its actor is "timer".
    """

    lapsed: ClassVar[ValuesOf]
    closing: ClassVar[ValuesOf | None] = None
    reason_field: ClassVar[str | None] = None
    gateways: ClassVar[Mapping[str, Gateway]] = MappingProxyType({})
    name: ClassVar[str] = "orders"

    def on_lapse(self, orders: OrderBatch[R]) -> None:
        """Make the stock of these orders available again. Called once, in the transaction that cancelled the orders.

        `orders.reason` says why they are cancelled and `orders.actor` who did it. If this raises, nothing has
        happened. Use set-based statements: there may be 500 orders.
        """
        raise NotImplementedError(f"{type(self).__name__} must say in on_lapse() what an order gives back")

    def on_closing(self, orders: OrderBatch[R]) -> None:
        """Take note that these orders begin to close, in the transaction that wrote `closing`.

        A row that has the values of `closing` already is not in `orders`.
        """

    def open_attempts(self, orders: Sequence[R]) -> Sequence[Attempt]:
        """Return the attempts to pay that must be closed before these orders may lapse. The rows are locked."""
        del orders
        return ()

    def on_ruling(self, order: R, rulings: Sequence[Ruling]) -> bool:
        """Record what the gateways said of the order's attempts; return True if the order is paid by now.

        Called in the transaction that decides, with the row locked. Where a ruling says PAID, make the payment's own
        transition here, and look at the row first: it may have been paid or cancelled since the gateway was asked.
        An order with a ruling of PAID for which this returns False stays held.
        """
        del order, rulings
        return False
