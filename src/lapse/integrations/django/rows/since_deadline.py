"""A deadline that is not stored: a window of time after another field, compared so that this field's index serves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from django.db.models import Case, DateTimeField, ExpressionWrapper, F, Q, When

from lapse.engine.errors import ConfigError
from lapse.integrations.django.rows.database_clock import DatabaseNow, as_stored, aware
from lapse.integrations.django.rows.windows import FIRST, LAST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

    from lapse.integrations.django.rows.windows import Period, Windows


class SinceDeadline:
    """A deadline that is a window after the DateTimeField `field`. It has the methods of `StoredDeadline`.

    Orders of each period in `windows` have a window of their own. The plain column is compared with the database's time
    less the window: an index on the column serves, and a calculated column would have none.
    """

    def __init__(self, field: str, windows: Windows) -> None:
        self.field = field
        self._windows = windows

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `due_at` needs."""
        return (self.field,)

    @property
    def sorting(self) -> str | Case:
        """What orders are sorted by, the earliest deadline first. With one period, it is the plain field."""
        periods = self._windows.history().current
        if len(periods) == 1:
            return self.field
        column = F(self.field)
        cases = [
            When(
                Q(**{f"{self.field}__lt": as_stored(period.end)}),
                then=ExpressionWrapper(column + period.window, output_field=DateTimeField()),
            )
            for period in periods
        ]
        return Case(*cases, output_field=DateTimeField())

    def due_at(self, value: datetime | None) -> datetime | None:
        """Return the deadline of a row with this column, or None if the row has no deadline."""
        return None if value is None else _due_at(aware(value), self._windows.history().current)

    def of(self, order: Model) -> object:
        """Return the instance's deadline. It may be None, or an expression that was just saved."""
        value = getattr(order, self.field)
        since = aware(value) if isinstance(value, datetime) else value
        if not isinstance(since, datetime) or since.tzinfo is None:
            return since  # a naive time is refused by the caller
        return _due_at(since, self._windows.history().periods)

    def values(self, until: datetime) -> NoReturn:
        """Raise ConfigError: the deadline has no column that could be written."""
        raise ConfigError(
            f"no order can get the deadline {until}, because `deadline` is Since({self.field!r}), which has no column "
            "of its own. Add a DateTimeField to the orders, let the checkout write it, and name it in `deadline`"
        )

    def passed(self, ago: timedelta = timedelta(0)) -> Q:
        """Return the condition for rows whose deadline passed `ago` or longer ago, by the database's clock."""
        periods = self._windows.history().current
        shortest = min(period.window for period in periods)
        passed = Q(**{f"{self.field}__lte": DatabaseNow(ago + shortest), f"{self.field}__gte": as_stored(FIRST)})
        if len(periods) == 1:
            return passed
        of_each = Q()
        for period in periods:
            of_each |= period.rows(self.field) & Q(**{f"{self.field}__lte": DatabaseNow(ago + period.window)})
        return passed & of_each  # `passed` is implied, and is one range of the index

    def readable(self) -> Q:
        """Return the condition for rows that have a deadline."""
        return Q(**{f"{self.field}__gte": as_stored(FIRST), f"{self.field}__lt": as_stored(LAST)})

    def unreadable(self) -> tuple[Q, Q]:
        """Return the conditions for rows with a time that has no deadline: too early, too late. NULL is neither."""
        return Q(**{f"{self.field}__lt": as_stored(FIRST)}), Q(**{f"{self.field}__gte": as_stored(LAST)})

    def beyond(self, due_at: datetime, key: str, value: object) -> Q:
        """Return the condition for rows that are sorted after this deadline, and after this value of the field `key`.

        For each period it implies that the field is not before a time, because an index range can begin with it.
        """
        periods = self._windows.history().current
        of_each = Q()
        for period in periods:
            last = as_stored(due_at - period.window)
            after = Q(**{f"{self.field}__gt": last}) | Q(**{f"{key}__gt": value})
            rows = Q() if len(periods) == 1 else period.rows(self.field)
            of_each |= rows & Q(**{f"{self.field}__gte": last}) & after
        return of_each


def _due_at(since: datetime, periods: Sequence[Period]) -> datetime | None:
    """Return the deadline of an order that was placed at `since`."""
    return next((since + period.window for period in periods if period.begin <= since < period.end), None)
