"""A person gives unpaid orders more time to pay: the deadline moves in the row and in the timer, by one transaction."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Generic

from lapse.engine.errors import InvalidDeadline
from lapse.orders.cause import EXPIRED
from lapse.orders.hold import in_transaction
from lapse.orders.port import Outcome
from lapse.orders.reopening import Reopening, values_of_timer
from lapse.orders.rows import Which
from lapse.orders.service_options import BATCH
from lapse.orders.shop import OrderBatch, R, Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from lapse.orders.rows import Rows


class Extended(StrEnum):
    """What became of one order that was to be extended, as one word."""

    EXTENDED = "extended"
    """The order has the new deadline and may be paid until then."""
    NOT_LATER = "not later"
    """The order has this much time already, or more, or it never lapses. Nothing was done: an extension never shortens
    the time that a buyer was promised, and a repeated call changes nothing."""
    CLOSING = "closing"
    """A person began to cancel the order, or the timer did in a shop that declares no `reopened`. Nothing was done."""
    NOT_UNPAID = "not unpaid"
    """Paid or cancelled before this call, or while it waited for the row. Nothing was done."""
    UNKNOWN = "unknown"
    """No order has this key."""


class Extending(Generic[R]):
    """Extends orders on a framework's rows, for the person `by`, because of `reason`.

    `arm` is called in the transaction with the orders that have a new deadline.
    """

    def __init__(
        self, shop: Shop[R], rows: Rows[R], *, by: str, reason: str, arm: Callable[[Sequence[R]], None]
    ) -> None:
        self._shop = shop
        self._rows = rows
        self._by = by
        self._reason = reason
        self._arm = arm
        self._reopening = Reopening(shop, rows)

    def extend(self, keys: Sequence[str], until: datetime) -> dict[str, Extended]:
        """Move the deadlines of these unpaid orders to `until`; return what became of each.

        One transaction per 500 orders, which waits for rows that another transaction has locked. An order that was
        closing because its time was over waits for its payment again. An attempt that a gateway is closing at this
        moment is closed all the same: the order then needs a new link.

        Raises InvalidDeadline if `until` is naive, or if no order can be paid until then. Raises ConfigError if the
        shop stores no deadline. Then the transaction changed nothing.
        """
        require_time_zone(until)
        self._rows.deadline_values(until)  # raises before anything is locked
        left = list(dict.fromkeys(keys))
        results: dict[str, Extended] = {}
        while left:
            part, left = left[:BATCH], left[BATCH:]
            results.update(in_transaction(self._rows, part, partial(self._extend, part, until)))
        return results

    def _extend(self, keys: Sequence[str], until: datetime) -> dict[str, Extended]:
        orders = {self._rows.key_of(order): order for order in self._rows.lock(keys, Which.UNPAID, wait=True)}
        results = self._not_locked([key for key in keys if key not in orders])
        if not orders:
            return results
        require_enough_time(self._shop, self._rows, until)
        for key, order in orders.items():
            due_at = self._rows.deadline_of(order)
            if self._is_closing(order):
                results[key] = Extended.CLOSING
            elif due_at is None or due_at >= until:
                results[key] = Extended.NOT_LATER
            else:
                results[key] = Extended.EXTENDED
        self._move([order for key, order in orders.items() if results[key] is Extended.EXTENDED], until)
        return results

    def _not_locked(self, keys: Sequence[str]) -> dict[str, Extended]:
        """Return the results of the orders that are not unpaid or do not exist."""
        states = self._rows.ask(keys) if keys else {}
        return {
            key: Extended.UNKNOWN if state.outcome is Outcome.UNKNOWN else Extended.NOT_UNPAID
            for key, state in states.items()
        }

    def _move(self, orders: Sequence[R], until: datetime) -> None:
        if not orders:
            return
        moved = self._rows.change(orders, self._rows.deadline_values(until))
        reopened = {self._rows.key_of(order): order for order in self._reopening.reopen(moved, actor=self._by)}
        extended = [reopened.get(self._rows.key_of(order), order) for order in self._forget_reasons(moved)]
        self._shop.on_extended(OrderBatch(extended, reason=self._reason, actor=self._by))
        self._arm(extended)

    def _forget_reasons(self, orders: Sequence[R]) -> Sequence[R]:
        """Reset the timer's reason in a shop without `closing`, for a later cancel has its own. Return the orders."""
        field = self._shop.reason_field
        if field is None or self._shop.closing is not None:
            return orders
        with_reason = [order for order in orders if self._rows.value_of(order, field)]
        if not with_reason:
            return orders
        reset = {self._rows.key_of(order): order for order in self._rows.change(with_reason, {field: ""})}
        return [reset.get(self._rows.key_of(order), order) for order in orders]

    def _is_closing(self, order: R) -> bool:
        """Return whether the order is being cancelled and cannot be reopened by an extension."""
        closing, field = self._shop.closing, self._shop.reason_field
        if field is None:
            return bool(values := values_of_timer(closing)) and self._rows.has(order, values)
        reason = self._rows.value_of(order, field)
        by_timer = str(reason) == EXPIRED and (closing is None or self._reopening.declared)
        return bool(reason) and not by_timer


def require_time_zone(until: datetime) -> None:
    """Raise InvalidDeadline if the time is naive: it would name another moment on each server."""
    if until.tzinfo is None:
        raise InvalidDeadline(f"`until` must be an aware datetime, such as timezone.now() + more; got {until!r}")


def require_enough_time(shop: Shop[R], rows: Rows[R], until: datetime) -> None:
    """Raise InvalidDeadline if no order can be paid until then, by the database's clock, at any of the gateways."""
    now = rows.now()
    least = min((least_window_of(gateway) for gateway in shop.gateways.values()), default=timedelta(0))
    if until <= now or until - now < least:
        raise InvalidDeadline(
            f"`until` is {until}, and by the database's clock it is {now}: name a time that is at least {least} later, "
            "so that the orders can be paid"
        )


def least_window_of(gateway: object) -> timedelta:
    """Return the gateway's `least_window`, or 0 if it declares none."""
    least: timedelta = getattr(gateway, "least_window", timedelta(0))
    return least
