"""Checks of the connection to the orders' database: the time zone, the clocks, and how its transactions begin."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks
from django.db import connections, transaction
from django.db.models.functions import Now
from django.db.models.sql import Query

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.integrations.django.rows.database_clock import (
    DatabaseNow,
    aware,
    has_fixed_offset,
    stored_offset,
    stored_zone,
)
from lapse.integrations.django.rows.transactions import LEVEL_SETTING, stricter_level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapse.integrations.django.unpaid_orders import UnpaidOrders

REPORTED = timedelta(seconds=1)
"""How far two clocks may be apart before that is reported."""

REFUSED = timedelta(minutes=1)
"""How far two clocks may be apart before orders would be cancelled much too early or too late."""

SHOWS_CLOCK = {"postgresql": "SELECT now()", "mysql": "SELECT UTC_TIMESTAMP()", "sqlite": "SELECT datetime('now')"}
"""The statement that shows the database's clock, by Django's name of the database."""


def check_time_zone(using: str) -> Iterator[checks.CheckMessage]:
    """Yield an error if times are stored in a time zone whose clocks change. Contacts no database."""
    connection = connections[using]
    zone = stored_zone(connection)
    if has_fixed_offset(zone) or (settings.USE_TZ and connection.features.supports_timezones):
        return
    setting = f"DATABASES[{using!r}]['TIME_ZONE'] is" if settings.USE_TZ else "USE_TZ is False and TIME_ZONE is"
    yield checks.Error(
        f"{setting} {zone!r}, where the clocks change: an hour comes twice each year, and a deadline stored in local "
        "time does not say which of the two it means.",
        hint="Remove that TIME_ZONE." if settings.USE_TZ else "Set USE_TZ = True.",
        id="lapse.E004",
    )


def check_autocommit(using: str) -> Iterator[checks.CheckMessage]:
    """Yield an error if no transaction of this connection would be committed by Django. Contacts no database."""
    if connections[using].settings_dict["AUTOCOMMIT"]:
        return
    yield checks.Error(
        f"DATABASES[{using!r}] has AUTOCOMMIT = False, so Django leaves each commit to the caller: workers would "
        "cancel orders and never commit, and their locks would stop each payment.",
        hint="Remove that AUTOCOMMIT. Code that needs it can call transaction.set_autocommit(False) itself.",
        id="lapse.E021",
    )


def check_clocks(using: str) -> Iterator[checks.CheckMessage]:
    """Yield what is wrong with the database's clock, and with Django's `Now()`."""
    connection = connections[using]
    query = Query(None)  # a query without a table, which may have no rows yet
    for name, function in (("ours", DatabaseNow()), ("django", Now())):
        query.add_annotation(function, name)
    before = SYSTEM_CLOCK.now()
    ((read, of_django),) = query.get_compiler(using=using).results_iter()
    after = SYSTEM_CLOCK.now()
    now = aware(read)
    apart = max(before - now, now - after)
    if apart > REPORTED:
        level, number = (checks.Error, "E032") if apart > REFUSED else (checks.Warning, "W032")
        yield level(
            f"The database's clock is {_seconds(apart)} {'behind' if now < before else 'ahead of'} this machine's "
            "clock. The shop writes deadlines by the one, and orders lapse by the other.",
            hint=f"Compare `{SHOWS_CLOCK.get(connection.vendor, 'SELECT CURRENT_TIMESTAMP')}` in `manage.py dbshell "
            f"--database {using}` with `date -u` here, and set the wrong clock by NTP (`timedatectl` shows whether "
            "that runs).",
            id=f"lapse.{number}",
        )
    yield from _check_now(using, aware(of_django) - now)


def _check_now(using: str, ahead: timedelta) -> Iterator[checks.CheckMessage]:
    """Yield a warning if Django's `Now()` writes another time than the one that Lapse compares with."""
    if abs(ahead) <= REPORTED:
        return
    hint = "Write `timezone.now()` of django.utils instead, also in `lapsed`."
    if connections[using].vendor == "mysql":
        minutes = stored_offset(connections[using]) // timedelta(minutes=1)
        zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        setting = f'"init_command": "SET time_zone = \'{zone}\'"'
        hint = f"Add {setting} to the OPTIONS of DATABASES[{using!r}]. Or w{hint[1:]}"
    yield checks.Warning(
        f"On this connection, Django's Now() is {_seconds(abs(ahead))} {'behind' if ahead < timedelta(0) else 'ahead'}."
        " Lapse does not use it, but a shop that writes a deadline or another time by Now() stores a wrong time.",
        hint=hint,
        id="lapse.W033",
    )


def check_transactions(orders: UnpaidOrders[Any], using: str) -> Iterator[checks.CheckMessage]:
    """Yield a warning if transactions of this connection begin in a way that does not suit Lapse."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED"
        if mode.upper() not in {"IMMEDIATE", "EXCLUSIVE"}:
            yield checks.Warning(
                f"SQLite's transactions begin {mode}: a transaction that reads first and then writes fails at once,"
                ' with "database is locked", if another process has written meanwhile.',
                hint=f'Add "transaction_mode": "IMMEDIATE" to the OPTIONS of DATABASES[{using!r}].',
                id="lapse.W035",
            )
    if orders.writers_lock is None or connection.vendor == "sqlite":
        return
    with transaction.atomic(using=using):
        level = stricter_level(using)
    if level:
        yield checks.Warning(
            f"Transactions of this connection are {level}. Inside a transaction of the shop, hold(), lapse() and "
            "cancel() will raise OpenTransaction: they would not see a row added since the transaction's first read.",
            hint=f"Call them outside of transaction.atomic(), or {LEVEL_SETTING}.",
            id="lapse.W034",
        )


def _seconds(apart: timedelta) -> str:
    return f"{apart.total_seconds():,.1f} s"
