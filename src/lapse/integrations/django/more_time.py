"""More time to pay, in a Django shop: `UnpaidOrders` inherits how orders are extended and revived."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from django.db.models import Model

from lapse.integrations.django.rows.db_errors import unavailable_is_try_later
from lapse.integrations.django.rows.transactions import refuse_old_snapshot
from lapse.orders.extending import Extended, Extending
from lapse.orders.reviving import Revived, Reviving
from lapse.orders.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from lapse.integrations.django.rows.queries import Queries

M = TypeVar("M", bound=Model)


class MoreTime(Shop[M], Generic[M]):
    """What a person does for a buyer who needs more time."""

    writers_lock: ClassVar[str | None] = None

    @cached_property
    def _queries(self) -> Queries[M]:
        raise NotImplementedError  # `UnpaidOrders` has them

    def extend(self, orders: Iterable[M], *, until: datetime, by: str, reason: str) -> dict[str, Extended]:
        """Move the deadlines of unpaid orders to `until`, for a person. Return what became of each, by its key.

        One transaction per 500 orders waits for rows that another transaction has locked, writes the deadline, and arms
        the timer. An order that was closing because its time was over may be paid again. `on_extended` gets `by`
        as the actor and `reason`. No gateway is called, so this may run inside a transaction of the caller. A link that
        ends before the new deadline is replaced when the buyer asks for one: see `close_attempt`.

        EXTENDED, or why nothing was done: NOT_LATER (it has this much time already), CLOSING (a person began to cancel
        it), NOT_UNPAID or UNKNOWN. The instances in `orders` are not refreshed.

        Raises InvalidDeadline if `until` is naive, or so early that no order could be paid: not later than the
        database's time, or by less than every gateway's `least_window`. Raises ConfigError if `deadline` is `Since`,
        TypeError for other objects than orders, and ValueError if `by` or `reason` is empty. Raises TryLater if the
        database does not answer.
        """
        keys = self._keys(orders, "extend", by, reason)
        with unavailable_is_try_later(self._queries.using):
            return Extending(self, self._queries, by=str(by), reason=str(reason), arm=self._arm_all).extend(keys, until)

    def revive(self, orders: Iterable[M], *, until: datetime, by: str, reason: str) -> dict[str, Revived]:
        """Make cancelled orders unpaid again, with the deadline `until`, while their stock is there. For a person.

        One transaction per order: `reinstate` reserves the stock, the deadline is written, `on_revived` gets `by` as
        the actor and `reason`, and the timer is armed. Money that still comes by an earlier attempt pays the order.

        REVIVED, or why nothing was done: NOT_REINSTATED (`reinstate` returned False, as without stock), NOT_CANCELLED
        or UNKNOWN. Returns by key and raises what `extend` does, and ConfigError if `reinstate` or `was_cancelled` is
        missing.
        """
        keys = self._keys(orders, "revive", by, reason)
        with unavailable_is_try_later(self._queries.using):
            return Reviving(self, self._queries, by=str(by), reason=str(reason), arm=self._arm_all).revive(keys, until)

    def _keys(self, orders: Iterable[M], call: str, by: str, reason: str) -> list[str]:
        if not (by and reason):
            raise ValueError(f"{call}() needs `by` and `reason`: who does it, and why")
        if self.writers_lock is not None:
            refuse_old_snapshot(self._queries.using)
        return [self._queries.key_of(one) for one in self._checked(orders, f"{call}(orders, until=…, by=…, reason=…)")]

    def _arm_all(self, orders: Sequence[M]) -> None:
        self.arm(*orders)

    def arm(self, *orders: M) -> None:
        """Arm the timer for these orders' deadlines."""
        raise NotImplementedError  # as above

    def _checked(self, orders: Iterable[M], call: str) -> list[M]:
        raise NotImplementedError  # as above
