"""The windows under which orders were placed: a changed window never moves the deadline of an order."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.apps import apps
from django.db import DatabaseError, connections, router
from django.db.models import Q

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import ConfigError
from lapse.integrations.django.rows.database_clock import DatabaseNow, as_stored, aware
from lapse.integrations.django.rows.db_errors import codes_of
from lapse.integrations.django.rows.stored_deadline import EARLIEST, LATEST
from lapse.integrations.django.rows.transactions import in_transaction
from lapse.orders.since import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from lapse.orders.since import Since

log = logging.getLogger("lapse")

FIRST = EARLIEST + LONGEST
"""The earliest time in the field for which there is a deadline, so that a window less is still a time."""

LAST = LATEST - LONGEST
"""The latest time in the field for which there is a deadline."""

READ_AGAIN = timedelta(seconds=15)
"""How long a process uses the windows that it has read."""

NOTICE = timedelta(minutes=1)
"""How long after it was recorded a window takes effect. By then every process has read it, so all processes agree on
the deadline of an order from the moment at which it is placed."""

UNDISTURBED = timedelta(minutes=5)
"""How long after a window was recorded no other one is. Processes with two windows, as in a deployment, alternate."""

KEPT = timedelta(days=1)
"""How long the periods of former windows stay in the conditions after the last of their orders has lapsed. It is longer
than a sweep leaves overdue orders to the timer."""


NO_SUCH_TABLE: set[object] = {"42P01", 1146}
"""undefined_table of PostgreSQL, ER_NO_SUCH_TABLE of MySQL."""


class Period(NamedTuple):
    """A stretch of time, and the window of the orders that were placed in it: from `begin` to before `end`."""

    begin: datetime
    end: datetime
    window: timedelta

    def rows(self, field: str) -> Q:
        """Return the condition for rows with a time of this period in the field."""
        return Q(**{f"{field}__gte": as_stored(self.begin), f"{field}__lt": as_stored(self.end)})


class History(NamedTuple):
    """All periods from FIRST to LAST, and the `current` ones, in which an order may not be due yet.

    The first of the current periods also covers what was placed before: all of that is due by any window. `unrecorded`
    is True if this process must record its window, and is in a transaction.
    """

    periods: Sequence[Period]
    current: Sequence[Period]
    unrecorded: bool


class Recorded(NamedTuple):
    """A row of the table, and the database's time at which it was read."""

    number: int
    window: timedelta
    since: datetime
    now: datetime


class Windows:
    """Reads the table of windows in the orders' database, and records the window of `declared` if it is new.

    Every process counts by the table, not by the window of its own code. `orders` returns the orders' name, and `using`
    the alias of their database. Orders lapse `grace` after their window has ended.

    Raises ConfigError if the table does not exist.
    """

    def __init__(
        self, declared: Since, orders: Callable[[], str], using: Callable[[], str], *, grace: timedelta = timedelta(0)
    ) -> None:
        self._declared = declared
        self._orders = orders
        self._using = using
        self._kept = KEPT + grace
        self._read: dict[tuple[str, str], tuple[float, History]] = {}  # (alias, orders) → when it was read, and what

    def history(self) -> History:
        """Return the periods. They are read again after READ_AGAIN, and to record a window."""
        using, _ = place = (self._using(), self._orders())
        now = SYSTEM_CLOCK.monotonic()
        read_at, history = self._read.get(place, (now, None))
        is_old = now - read_at > READ_AGAIN.total_seconds()
        if history is None or is_old or (history.unrecorded and not in_transaction(connections[using])):
            history = self._history(*place)
            self._read[place] = (now, history)
        return history

    def _history(self, using: str, orders: str) -> History:
        table: Any = apps.get_model("lapse", "Window")  # models cannot be imported before Django is set up
        rows = table.objects.using(using).filter(orders=orders, field=self._declared.field).order_by("number")
        try:
            recorded = _recorded(rows)
            # In a transaction, a row would not be visible to other processes at once, and might be rolled back.
            if self._is_new(recorded) and not in_transaction(connections[using]):
                self._record(rows, recorded[-1] if recorded else None)
                recorded = _recorded(rows)
        except DatabaseError as error:
            if _is_missing_table(error):
                raise _not_migrated(table._meta.db_table, using) from error  # noqa: SLF001 - Django's public API
            raise
        periods = _periods(recorded) if recorded else [Period(FIRST, LAST, self._declared.window)]
        current = _current(periods, recorded[-1].now, self._kept) if recorded else periods
        return History(periods, current, unrecorded=self._is_new(recorded))

    def _is_new(self, recorded: Sequence[Recorded]) -> bool:
        """Return whether this process must record its window. It leaves a window that is not UNDISTURBED yet."""
        if not recorded:
            return True
        _, window, since, now = recorded[-1]
        return window != self._declared.window and not timedelta(0) <= now - (since - NOTICE) < UNDISTURBED

    def _record(self, rows: Any, last: Recorded | None) -> None:  # noqa: ANN401 - a query of a model that is not imported
        """Record the window. If another process records one at the same moment, that one stays for now."""
        _, created = rows.get_or_create(
            orders=self._orders(),
            field=self._declared.field,
            number=last.number + 1 if last else 1,
            defaults={"window": self._declared.window, "since": DatabaseNow(-NOTICE)},
        )
        if created and last:
            log.warning(
                "the window of %s changes from %s to %s, for orders placed in a minute or later. If this is logged "
                "repeatedly, processes with both windows are running",
                self._orders(),
                last.window,
                self._declared.window,
            )


def _recorded(rows: Any) -> list[Recorded]:  # noqa: ANN401 - a query of a model that cannot be imported here
    """Return the rows, in the sequence in which they were recorded."""
    return [
        Recorded(number, window, aware(since), aware(now))
        for number, window, since, now in rows.values_list("number", "window", "since", DatabaseNow())
    ]


def _periods(recorded: Iterable[Recorded]) -> list[Period]:
    """Return the periods in which the windows were in force."""
    begun: list[tuple[datetime, timedelta]] = []
    for row in recorded:
        # A window that should begin later than its successor was recorded while the clock was ahead. It is left out.
        while begun and begun[-1][0] >= row.since:
            begun.pop()
        if not begun or begun[-1][1] != row.window:
            begun.append((row.since if begun else FIRST, row.window))
    ends = [begin for begin, _ in begun[1:]] + [LAST]
    return [Period(begin, end, window) for (begin, window), end in zip(begun, ends, strict=True)]


def _current(periods: Sequence[Period], now: datetime, kept: timedelta) -> list[Period]:
    """Return the periods without those whose orders were all due by any window, longer than `kept` ago."""
    settled = now - kept - max(period.window for period in periods)
    first, *others = [period for period in periods if period.end > settled]
    return [first._replace(begin=FIRST), *others]


def _is_missing_table(error: DatabaseError) -> bool:
    """Return whether the statement failed because its table does not exist: on PostgreSQL, MySQL or SQLite."""
    return bool(codes_of(error) & NO_SUCH_TABLE) or "no such table" in str(error)


def _not_migrated(table: str, using: str) -> ConfigError:
    """Return the error for a database without the table."""
    allowed = router.allow_migrate(using, "lapse")
    first = "" if allowed else f"let your DATABASE_ROUTERS allow the application lapse in {using!r}, and then "
    return ConfigError(
        f"the database {using!r} has no table {table}, which remembers the windows of Since(…): {first}run "
        f"`manage.py migrate lapse --database {using}`"
    )
