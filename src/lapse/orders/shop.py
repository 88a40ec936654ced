"""What a shop declares about its orders: the values written into a cancelled row, and the hooks."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import ClassVar, Generic, TypeVar, overload

from lapse.orders.gateway import Attempt, ClosingGateway, Ruling
from lapse.orders.late_money import LateMoney, Record

R = TypeVar("R")
"""A framework's row: the order object that the shop's hooks receive."""

Values = Mapping[str, object]
"""Values by field name. A framework may accept expressions, such as the database's current time."""

ValuesOf = Values | Callable[..., Values]
"""Values to write, or a function of the reason and the actor that returns them."""


class OrderBatch(Sequence[R]):
    """Locked rows that one transaction changed for one `reason`, by one `actor`, with their new values.

    `on_read`: the actor is the timer, and a read or a sale found the overdue orders before a worker did.
    """

    def __init__(self, orders: Sequence[R], *, reason: str, actor: str, on_read: bool = False) -> None:
        self._orders = orders
        self.reason = reason
        self.actor = actor
        self.on_read = on_read

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
    """What a shop declares about its orders, the same in every framework. Each framework's base class inherits it.

    * `lapsed`: the values written into a cancelled row. A shop with a state machine overrides `transition` instead.
      The row must no longer count as unpaid afterwards: it is asked in the same transaction, which is rolled back if
      the row still does.
    * `closing`: the values written into a row while its open attempts to pay are being closed; None writes nothing.
      The row must still count as unpaid, so that another process goes on after a crash. The shop must open no new
      attempt for such an order.
    * `reopened`: the values written into a row that the timer began to close and whose deadline was extended meanwhile,
      such as {"status": "awaiting_payment"}; None leaves such a row closing. The row must still count as unpaid.
      `reason_field` is reset to empty text as well, unless `reopened` names it. It needs `closing` and `reason_field`.
    * `reason_field`: the field that stores the first reason to cancel the order; None stores no reason. The field is
      written when the order begins to close, or with `lapsed`, and is never overwritten. Empty text or null means that
      there is no reason yet. When an order is paid, the shop must reset the field to that value.
    * `gateways`: the gateways, by the name that `Attempt.gateway` has.
    * `windows`: the time to pay that the checkout gives an order, by the gateway's name. Only for a check: a window in
      which no order can be paid at its gateway is refused when the shop starts. A `Since` is known without it.
    * `late_money`: what becomes of money that comes after its order was cancelled. Counts where Lapse keeps the
      attempts.
    * `grace`: how long after its announced deadline an unpaid order lapses, at most 100 years. Until then a payment
      that was begun in time still pays the order, and the order keeps its stock. Pages show the announced deadline.
    * `remind`: how long before its announced deadline an unpaid order is due for `on_remind`; None: there are no
      reminders. An order that is armed with less time than that left gets none.
    * `reminded`: the field that stores the deadline of which the shop was reminded. It is null at first.
    * `name`: the timer's name.

    `lapsed`, `closing` and `reopened` may also be functions of (reason, actor) that return the values. The timer's
    reason is "expired" and its actor is "timer".
    """

    lapsed: ClassVar[ValuesOf] = MappingProxyType({})
    closing: ClassVar[ValuesOf | None] = None
    reopened: ClassVar[ValuesOf | None] = None
    reason_field: ClassVar[str | None] = None
    gateways: ClassVar[Mapping[str, ClosingGateway]] = MappingProxyType({})
    windows: ClassVar[Mapping[str, timedelta]] = MappingProxyType({})
    late_money: ClassVar[LateMoney] = LateMoney.REINSTATE
    grace: ClassVar[timedelta] = timedelta(0)
    remind: ClassVar[timedelta | None] = None
    reminded: ClassVar[str | None] = None
    name: ClassVar[str] = "orders"

    def on_lapse(self, orders: OrderBatch[R]) -> None:
        """Make the stock of these orders available again. Called once, in the transaction that cancelled the orders.

        `orders.reason` says why the orders are cancelled, `orders.actor` who cancelled them. If this raises, the
        transaction is rolled back. Use set-based statements: there may be 500 orders. A shop whose `transition` makes
        the stock available itself needs no `on_lapse`.
        """
        del orders
        if type(self).transition is Shop.transition:
            raise NotImplementedError(f"{type(self).__name__} must say in on_lapse() what an order gives back")

    def transition(self, order: R) -> None:
        """Do nothing, or what a shop with a state machine, signals or history overrides: cancel this locked order.

        Called before `on_lapse`, once per order, in the transaction that cancels the order. Use it in place of
        `lapsed`: change the order as the shop does everywhere else, and save it. `reason_field`, if declared, is
        written before the call. If this raises, the transaction is rolled back and the other orders lapse without it.
        It may cancel other orders as well: these are left out of the batch.
        """

    def postpone(self, orders: Sequence[R]) -> Mapping[R, datetime | None]:
        """Return the orders that must not lapse now, although they are due; the other orders lapse.

        The value is the time, with a time zone, at which to ask again; None asks again after about 15 minutes. A time
        that has passed by the database's clock postpones nothing. Called in the transaction of step one, with the rows
        locked. Nothing is stored: each process asks about the order when its time has come. An order that this pays or
        extends does not lapse either. A person's cancel does not ask.
        """
        del orders
        return {}

    def on_closing(self, orders: OrderBatch[R]) -> None:
        """Do nothing, or what the shop overrides: called in the transaction that wrote `closing` into these orders.

        A row that already had the values of `closing` is not in `orders`.
        """

    def on_reopened(self, orders: OrderBatch[R]) -> None:
        """Do nothing, or what the shop overrides: called in the transaction that wrote `reopened` into these orders."""

    def on_extended(self, orders: OrderBatch[R]) -> None:
        """Do nothing, or what the shop overrides: called in the transaction that gave these orders more time to pay.

        `orders.actor` is who extended the orders, and `orders.reason` why. The rows have the new deadline, and an order
        that was closing has been reopened.
        """

    def on_revived(self, orders: OrderBatch[R]) -> None:
        """Do nothing, or what the shop overrides: called in the transaction that revived this one cancelled order.

        `reinstate` has reserved its stock before. `orders.actor` is who revived the order, and `orders.reason` why.
        """

    def on_remind(self, orders: OrderBatch[R]) -> None:
        """Do nothing, or what a shop with `remind` overrides: these orders will lapse soon.

        Called once per deadline, in the transaction that wrote `reminded`, with the rows locked: they are unpaid, not
        closing, and `remind` or less before their deadline. Write a message into an outbox here, and send nothing: the
        transaction may be rolled back. If this raises, the orders are reminded of later, as a lapse is tried again.
        """

    def open_attempts(self, orders: Sequence[R]) -> Sequence[Attempt]:
        """Return the attempts to pay that must be closed before these orders may lapse. The rows are locked.

        Pay an order here by `hold` only: without it, the order would lapse all the same.
        """
        del orders
        return ()

    def on_link_doubt(self, orders: Sequence[R]) -> None:
        """Do nothing; or, where Lapse keeps the attempts, let the gateways be asked soon about the open ones.

        Called in the transaction that reopened these orders. A gateway may have closed an attempt whose row says that
        it is open, because the answer was lost or is still under way. Until then a buyer would get a dead link.
        """

    def on_ruling(self, order: R, rulings: Sequence[Ruling]) -> bool:
        """Record the gateways' rulings on the order's attempts. Return True if the order is paid afterwards.

        Called in the transaction of step three, with the row locked. If a ruling is PAID, mark the order as paid here.
        Check the row first: it may have been paid or cancelled since the gateway answered. If a ruling is PAID and this
        returns False, the order does not lapse and keeps its stock.
        """
        del order, rulings
        return False

    # The hooks of a shop whose attempts Lapse keeps.

    def on_paid(self, order: R, attempt: Record) -> None:
        """Make this locked, unpaid order paid, and sell the stock that it holds. The attempt's money pays it in full.

        Called once, in the transaction that books the money. The row must no longer count as unpaid afterwards: it is
        asked, and the transaction is rolled back if it still does.
        """
        raise NotImplementedError(f"{type(self).__name__} must say in on_paid() how an order becomes paid")

    def was_cancelled(self, order: R) -> bool:
        """Return whether this locked order, which is not unpaid, was cancelled. Otherwise it counts as paid.

        Money for a cancelled order is treated as `late_money` says. Money for a paid order came twice and is refunded.
        """
        raise NotImplementedError(f"{type(self).__name__} must say in was_cancelled() which orders were cancelled")

    def reinstate(self, order: R) -> bool:
        """Return False, so that late money is refunded; or, overridden, reserve the stock of a cancelled order again.

        The row is locked. Reserve all lines by a conditional update, make the order unpaid again and return True.
        `on_paid` is called next if late money came, and `on_revived` if a person revives the order: then the new
        deadline is written after this. Return False if the stock is gone: what was changed here is rolled back.
        """
        del order
        return False

    def on_refunded(self, order: R, attempt: Record, amount: Decimal) -> None:
        """Do nothing, or what the shop overrides: `amount` of the money that paid this order went back to the buyer.

        Called in the transaction that books the refund, with the row locked, once for each part. `attempt.refunded` is
        the total.
        """

    def on_attempt(self, order: R, before: Record, after: Record) -> None:
        """Do nothing, or what the shop overrides: what is stored about an attempt of this order has changed.

        Called last, in the transaction of the change, with the row locked. For an audit trail: `after.state` says that
        money must be refunded or reviewed, and `after.refunded` grows with each refund, also of money that paid no
        order.
        """
