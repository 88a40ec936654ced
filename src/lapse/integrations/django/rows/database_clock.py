"""The database's time in UTC, in the form in which its columns store times. Django's `Now()` is neither everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import DateTimeField, Func
from django.utils import timezone

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    Sql = tuple[str, tuple[str | int, ...]]


class DatabaseNow(Func):
    """The database's time, less `ago`, to compare with a DateTimeField.

    PostgreSQL stores moments. MySQL and SQLite store the digits of a clock: of a clock in UTC, unless USE_TZ is False
    or DATABASES has a TIME_ZONE. There, Django's `Now()` is wrong: MySQL returns the digits of the session's time zone,
    and SQLite those of UTC.
    """

    output_field: Any = DateTimeField()

    def __init__(self, ago: timedelta = timedelta(0)) -> None:
        super().__init__()
        self._ago = ago

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: object) -> Sql:
        """Return the moment of the statement. Inside a transaction it moves on."""
        del compiler, connection
        return "(STATEMENT_TIMESTAMP() - %s::interval)", (f"{self._ago.total_seconds()} seconds",)

    def as_mysql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: object) -> Sql:
        """Return the digits of the clock that Django stores, in any time zone of the session."""
        del compiler
        microseconds = (stored_offset(connection) - self._ago) // timedelta(microseconds=1)
        return "(UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND)", (microseconds,)

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: object) -> Sql:
        """Return the digits of the clock that Django stores, in milliseconds."""
        del compiler
        seconds = (stored_offset(connection) - self._ago).total_seconds()
        return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', %s)", (f"{seconds:+.3f} seconds",)


def stored_zone(connection: BaseDatabaseWrapper) -> str:
    """Return the name of the time zone in which MySQL and SQLite store times for Django."""
    return str(connection.timezone_name)


def stored_offset(connection: BaseDatabaseWrapper) -> timedelta:
    """Return how far the clock of the stored times is ahead of UTC."""
    offset = datetime.now(ZoneInfo(stored_zone(connection))).utcoffset()
    return timedelta(0) if offset is None else offset


def has_fixed_offset(zone: str, years: int = 5) -> bool:
    """Return whether a clock in the zone keeps its distance to UTC from last year on, for `years` years.

    Where it does not, an hour comes twice each year, and a stored local time does not say which one it means.
    """
    here = ZoneInfo(zone)
    begin = datetime.now(UTC) - timedelta(days=365)
    return len({(begin + timedelta(days=7 * week)).astimezone(here).utcoffset() for week in range(53 * years)}) == 1


def aware(value: datetime) -> datetime:
    """Return the time with its time zone. Without USE_TZ, Django's times are naive, in the zone TIME_ZONE."""
    if settings.USE_TZ or timezone.is_aware(value):
        return value
    return timezone.make_aware(value, timezone.get_default_timezone())


def as_stored(value: datetime) -> datetime:
    """Return the time as Django takes it for a query: naive without USE_TZ."""
    if settings.USE_TZ or timezone.is_naive(value):
        return value
    return timezone.make_naive(value, timezone.get_default_timezone())
