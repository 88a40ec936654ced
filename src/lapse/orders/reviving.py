"""A person makes a cancelled order unpaid again, while its stock is there: reserved and armed by one transaction."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Generic

from lapse.engine.errors import ConfigError
from lapse.orders.cause import WrongTransition
from lapse.orders.extending import require_enough_time, require_time_zone
from lapse.orders.hold import in_transaction
from lapse.orders.rows import Which
from lapse.orders.shop import OrderBatch, R, Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from lapse.orders.rows import Rows


class Revived(StrEnum):
    """What became of one order that was to be revived, as one word."""

    REVIVED = "revived"
    """The order is unpaid again, holds its stock, and lapses at the new deadline unless it is paid."""
    NOT_REINSTATED = "not reinstated"
    """`reinstate` returned False: the stock is gone, or the shop does not sell the order again. Nothing was done."""
    NOT_CANCELLED = "not cancelled"
    """The order is unpaid or paid, perhaps because another call revived it first. Nothing was done."""
    UNKNOWN = "unknown"
    """No order has this key."""


class Reviving(Generic[R]):
    """Revives orders on a framework's rows, for the person `by`, because of `reason`.

    `arm` is called in the transaction with the revived order.
    """

    def __init__(
        self, shop: Shop[R], rows: Rows[R], *, by: str, reason: str, arm: Callable[[Sequence[R]], None]
    ) -> None:
        self._shop = shop
        self._rows = rows
        self._by = by
        self._reason = reason
        self._arm = arm

    def revive(self, keys: Sequence[str], until: datetime) -> dict[str, Revived]:
        """Make these cancelled orders unpaid again, with the deadline `until`; return what became of each.

        One transaction per order: in a shared one, its products would stay locked while the next order waits for locks.
        Waits for rows that another transaction has locked. The attempts to pay of the cancelled order stay as they are.
        Money that still comes by one of them pays the order.

        Raises InvalidDeadline if `until` is naive, or if no order can be paid until then. Raises ConfigError if the
        shop stores no deadline or lacks a hook. An error ends the call; the orders before it stay revived.
        """
        require_time_zone(until)
        self._rows.deadline_values(until)  # raises before anything is locked
        for hook in ("reinstate", "was_cancelled"):
            if getattr(type(self._shop), hook) is getattr(Shop, hook):
                raise ConfigError(f"{type(self._shop).__name__} has no {hook}(), so no order can be revived: define it")
        results: dict[str, Revived] = {}
        for key in dict.fromkeys(keys):
            try:
                results[key] = in_transaction(self._rows, [key], partial(self._revive, key, until))
            except _NotReinstated:
                results[key] = Revived.NOT_REINSTATED
        return results

    def _revive(self, key: str, until: datetime) -> Revived:
        """Revive the order in the open transaction and return what became of it.

        Raises _NotReinstated, which rolls back what the hook changed.
        """
        orders = self._rows.lock([key], Which.ALL, wait=True)
        if not orders:
            return Revived.UNKNOWN
        require_enough_time(self._shop, self._rows, until)
        if self._rows.unpaid(orders) or not self._shop.was_cancelled(orders[0]):
            return Revived.NOT_CANCELLED
        if not self._shop.reinstate(orders[0]):
            raise _NotReinstated
        values = self._rows.deadline_values(until)
        if field := self._shop.reason_field:
            values = {**values, field: ""}  # a later cancel has a reason of its own
        self._rows.change(orders, values)
        revived = self._rows.lock(
            [key], Which.UNPAID, wait=True
        )  # as it is now: the hook may have written into the row
        if not revived:
            raise WrongTransition(
                f"after reinstate(), order {key!r} does not count as unpaid, so nothing was changed: write the field "
                "that `unpaid` reads"
            )
        self._shop.on_revived(OrderBatch(revived, reason=self._reason, actor=self._by))
        self._arm(revived)
        return Revived.REVIVED


class _NotReinstated(Exception):
    """Ends the transaction of a revival that did not work."""
