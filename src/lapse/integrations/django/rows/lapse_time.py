"""When an order lapses: its announced deadline and the time of grace after it. The only place that adds the grace."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.db.models import Case, Model, Q

    from lapse.integrations.django.rows.since_deadline import SinceDeadline
    from lapse.integrations.django.rows.stored_deadline import StoredDeadline


class LapseTime:
    """The deadline that `announced` reads, and `grace()` later. It has the methods of `StoredDeadline`.

    The column is compared with the database's time less the grace, so the index on the column serves. The grace is
    stored nowhere: a new grace counts at once, for all orders.
    """

    def __init__(self, announced: StoredDeadline | SinceDeadline, grace: Callable[[], timedelta]) -> None:
        self._announced = announced
        self._grace = grace

    @property
    def field(self) -> str:
        """The field that the announced deadline is in, or counts from."""
        return self._announced.field

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `due_at` needs."""
        return self._announced.columns

    @property
    def sorting(self) -> str | Case:
        """What orders are sorted by, the earliest first: the announced deadline, because the grace is one for all."""
        return self._announced.sorting

    def due_at(self, value: datetime | None) -> datetime | None:
        """Return when a row with this column lapses, or None if the row has no deadline."""
        return self._later(self._announced.due_at(value))

    def of(self, order: Model) -> object:
        """Return when the instance lapses. It may be None, or an expression that was just saved."""
        announced = self._announced.of(order)
        return self._later(announced) if isinstance(announced, datetime) else announced

    def announced_of(self, order: Model) -> object:
        """Return the instance's announced deadline. It may be None, or an expression that was just saved."""
        return self._announced.of(order)

    def values(self, until: datetime) -> Mapping[str, datetime]:
        """Return what to write for this announced deadline. Raises ConfigError for `Since`, and InvalidDeadline."""
        return self._announced.values(until)

    def passed(self, ago: timedelta = timedelta(0)) -> Q:
        """Return the condition for rows whose time to lapse passed `ago` or longer ago, by the database's clock."""
        return self._announced.passed(ago + self._grace())

    def readable(self) -> Q:
        """Return the condition for rows that have a deadline."""
        return self._announced.readable()

    def unreadable(self) -> tuple[Q, Q]:
        """Return the conditions for rows with a time that Python cannot read: too early, too late."""
        return self._announced.unreadable()

    def beyond(self, due_at: datetime, key: str, value: object) -> Q:
        """Return the condition for rows that are sorted after this time to lapse, and after this value of `key`."""
        return self._announced.beyond(due_at - self._grace(), key, value)

    def _later(self, announced: datetime | None) -> datetime | None:
        """Return the time `grace()` later, or None if Python has no such time."""
        try:
            return None if announced is None else announced + self._grace()
        except OverflowError:
            return None
