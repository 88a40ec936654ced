"""Reopening: an order whose deadline was extended while the timer was closing its attempts may be paid again."""

from collections.abc import Collection, Sequence
from typing import Generic

from lapse.orders.cause import EXPIRED, TIMER, WrongTransition
from lapse.orders.port import Outcome
from lapse.orders.rows import Rows, Which
from lapse.orders.shop import OrderBatch, R, Shop, Values, ValuesOf


class Reopening(Generic[R]):
    """Writes `reopened` into orders that the timer began to cancel and that are not due any more.

    An order that a person began to cancel is left alone: `reason_field` says who began. So without `reason_field` no
    order is reopened.
    """

    def __init__(self, shop: Shop[R], rows: Rows[R]) -> None:
        self._shop = shop
        self._rows = rows

    @property
    def declared(self) -> bool:
        """Whether the shop has declared all that is needed."""
        return None not in (self._shop.reopened, self._shop.closing, self._shop.reason_field)

    def reopen_early(self, keys: Collection[str]) -> None:
        """Reopen those of these orders that are closing although they are not due. Call it in a transaction."""
        self.reopen(self._rows.lock(keys, Which.UNPAID, wait=False))

    def reopen(self, orders: Sequence[R], *, actor: str = TIMER) -> Sequence[R]:
        """Reopen those of these locked orders that are closing although they are not due, and call the shop's hook.

        Return the orders that were reopened, with their new values. `actor` is the person who extended the orders, or
        the timer that found them extended. Raises WrongTransition if an order no longer counts as unpaid afterwards.
        """
        field = self._shop.reason_field
        if field is None or not self.declared:
            return ()
        begun = {**values_of_timer(self._shop.closing), field: EXPIRED}
        closing = {self._rows.key_of(order): order for order in orders if self._rows.has(order, begun)}
        if not closing:
            return ()
        states = self._rows.ask(list(closing))
        early = [order for key, order in closing.items() if states[key].outcome is Outcome.NOT_DUE]
        if not early:
            return ()
        reopened = self._rows.change(early, {field: "", **values_of_timer(self._shop.reopened)})
        self._shop.on_reopened(OrderBatch(reopened, reason=EXPIRED, actor=actor))
        self._shop.on_link_doubt(reopened)
        unpaid = set(self._rows.unpaid(reopened))
        if gone := sorted(key for order in reopened if (key := self._rows.key_of(order)) not in unpaid):
            raise WrongTransition(
                f"after `reopened` was written, order {gone[0]!r} no longer counts as unpaid, so it could neither be "
                "paid nor lapse. Let `reopened` write a state that `unpaid` matches"
            )
        return reopened


def values_of_timer(declared: ValuesOf | None) -> Values:
    """Return the values that the timer's lapse writes into a row, without the reason."""
    return declared(EXPIRED, TIMER) if callable(declared) else declared or {}
