"""Reminders in a Django shop: `UnpaidOrders` inherits how they are armed, and what a worker runs."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django.db.models import F, Model, Q

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import Deadline
from lapse.engine.errors import InvalidDeadline
from lapse.integrations.django.database_orders import DatabaseOrders
from lapse.integrations.django.rows.database_clock import DatabaseNow
from lapse.integrations.django.rows.lapse_time import LapseTime
from lapse.integrations.django.rows.stored_deadline import StoredDeadline
from lapse.orders.calls import GatewayCalls
from lapse.orders.closing import Closing
from lapse.orders.reminding import Reminding, reminders_of
from lapse.orders.reopening import values_of_timer
from lapse.orders.shop import Shop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapse.integrations.django.arming import Arming
    from lapse.integrations.django.rows.queries import Queries
    from lapse.orders.lapsing import Lapsing
    from lapse.orders.since import Since

M = TypeVar("M", bound=Model)

CLOCKS = timedelta(minutes=1)
"""How far this machine's clock may be away from the database's. `manage.py check` refuses more."""


class Reminders(Shop[M], Generic[M]):
    """The reminders of unpaid orders. For a shop that declares `remind`, and `deadline` as a field."""

    deadline: ClassVar[str | Since]
    unpaid: ClassVar[Q]

    def reminders(self, *, background: bool = False) -> Lapsing | None:
        """Return what a worker and a sweep run for the reminders; None if the shop declares no `remind`.

        With `background`, it replaces old database connections, for a process without requests.
        """
        if self.remind is None:
            return None
        return DatabaseReminders(self, self.reminder_queries, self._mark, background=background).lapsing()

    def _arm_reminders(self, deadlines: Sequence[Deadline]) -> None:
        """Arm the reminders of orders that lapse at these times. Mark the orders that are too late for a reminder.

        The database's clock decides what is too late. This machine's clock only saves the statement for most orders.
        """
        if self.remind is None:
            return
        now = SYSTEM_CLOCK.now()
        ahead, near = [], []
        for deadline in deadlines:
            with suppress(OverflowError, InvalidDeadline):  # a deadline in the year 1 has passed
                reminder = Deadline(deadline.key, deadline.due_at - self.grace - self.remind)
                ahead += [reminder] if reminder.due_at > now - CLOCKS else []
                near += [reminder.key] if reminder.due_at <= now + CLOCKS else []
        if near:
            rows = self._queries.rows(self.reminder_queries.deadline.passed())
            keys = self._queries.keys
            rows.filter(**{f"{keys.name}__in": keys.values_of(near, self._queries.using)}).update(**self._mark)
        if ahead:
            self._arming.arm(reminders_of(self.name), ahead, self._queries.using)

    def _disarm_reminders(self, keys: Sequence[str]) -> None:
        if self.remind is not None:
            self._arming.disarm(reminders_of(self.name), keys, self._queries.using)

    @property
    def _mark(self) -> dict[str, Any]:
        """What is written with a reminder: the deadline itself, as the database has it."""
        return {str(self.reminded): F(str(self.deadline))}

    @cached_property
    def reminder_queries(self) -> Queries[M]:
        """The queries for which an order is unpaid if it wants a reminder, and due when it gets the reminder."""
        field = str(self.deadline)
        new = Q(**{f"{self.reminded}__isnull": True}) | ~Q(**{str(self.reminded): F(field)})
        wants = self.unpaid & new & Q(**{f"{field}__gt": DatabaseNow()}) & self._not_closing()
        return self._queries_for(wants, LapseTime(StoredDeadline(field), lambda: -(self.remind or timedelta(0))))

    def _not_closing(self) -> Q:
        if self.reason_field is not None:  # the field is written when an order begins to close
            return Q(**{self.reason_field: ""}) | Q(**{f"{self.reason_field}__isnull": True})
        values = values_of_timer(self.closing)
        plain = {name: value for name, value in values.items() if not hasattr(value, "resolve_expression")}
        return ~Q(**plain) if plain else Q()

    # `UnpaidOrders` has these.

    @cached_property
    def _queries(self) -> Queries[M]:
        raise NotImplementedError

    @cached_property
    def _arming(self) -> Arming:
        raise NotImplementedError

    def _queries_for(self, unpaid: Q, deadline: LapseTime) -> Queries[M]:
        raise NotImplementedError


class DatabaseReminders(DatabaseOrders[M]):
    """The reminders as the engine calls them: `Reminding` on Django's queries, and the handling of connections."""

    def __init__(self, shop: Shop[M], queries: Queries[M], mark: dict[str, Any], *, background: bool) -> None:
        super().__init__(shop, queries, closing=Closing(GatewayCalls()), background=background)
        self._transition = Reminding(shop, queries, mark)
