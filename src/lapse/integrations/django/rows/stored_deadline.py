"""The deadline as it is stored with an order: which rows are due, and when each row is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Q

from lapse.engine.errors import InvalidDeadline
from lapse.integrations.django.rows.database_clock import DatabaseNow, as_stored, aware

if TYPE_CHECKING:
    from django.db.models import Model

EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
"""The earliest time that Python can read in every time zone. A database may store earlier ones, even -infinity."""

LATEST = datetime(9999, 12, 30, tzinfo=UTC)
"""The latest time that Python can read in every time zone."""


class StoredDeadline:
    """A deadline in a DateTimeField of the order. `field` is the field's name.

    Rows with a time that Python cannot read are never due and have no deadline.
    """

    def __init__(self, field: str) -> None:
        self.field = field

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `due_at` needs."""
        return (self.field,)

    @property
    def sorting(self) -> str:
        """The field by which orders are sorted, the earliest deadline first."""
        return self.field

    def due_at(self, value: datetime | None) -> datetime | None:
        """Return the deadline of a row with this column, or None if the row has no deadline."""
        return None if value is None else aware(value)

    def of(self, order: Model) -> object:
        """Return the instance's deadline. It may be None, or an expression that was just saved."""
        value = getattr(order, self.field)
        return aware(value) if isinstance(value, datetime) else value

    def values(self, until: datetime) -> dict[str, datetime]:
        """Return the value to write for this deadline. Raises InvalidDeadline for a time that Python cannot read."""
        if not EARLIEST <= until <= LATEST:
            raise InvalidDeadline(
                f"an order can have a deadline from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}; got {until}"
            )
        return {self.field: as_stored(until)}

    def passed(self, ago: timedelta = timedelta(0)) -> Q:
        """Return the condition for rows whose deadline passed `ago` or longer ago, by the database's clock."""
        return Q(**{f"{self.field}__lte": DatabaseNow(ago), f"{self.field}__gte": as_stored(EARLIEST)})

    def readable(self) -> Q:
        """Return the condition for rows that have a deadline."""
        return Q(**{f"{self.field}__range": (as_stored(EARLIEST), as_stored(LATEST))})

    def unreadable(self) -> tuple[Q, Q]:
        """Return the conditions for rows with a time that Python cannot read: too early, too late. NULL is neither.

        Each is one range of an index. For both in one condition, SQLite would read every unpaid order.
        """
        return Q(**{f"{self.field}__lt": as_stored(EARLIEST)}), Q(**{f"{self.field}__gt": as_stored(LATEST)})

    def beyond(self, due_at: datetime, key: str, value: object) -> Q:
        """Return the condition for rows that are sorted after this deadline, and after this value of the field `key`.

        It implies that the deadline is not before `due_at`. That is added because an index range can begin with it.
        """
        last = as_stored(due_at)
        return Q(**{f"{self.field}__gte": last}) & (Q(**{f"{self.field}__gt": last}) | Q(**{f"{key}__gt": value}))
