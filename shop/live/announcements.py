"""Receives the database's announcements: one connection per web process, opened again whenever it is lost."""

import asyncio
import logging
import random
from collections.abc import Callable

import psycopg
from django.db import connection

log = logging.getLogger("shop.live")

ORDERS, STOCK = "shop_orders", "shop_stock"
"""The channels. A message on the first has the numbers of orders, separated by commas; on the second it is empty."""

PROBE_EVERY = 15.0
"""Seconds without an announcement after which the connection is probed."""
ANSWERS_WITHIN = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds until a lost connection is opened again: doubled after each failure, from the first to the longest."""


async def listen(on_orders: Callable[[set[int] | None], None], on_stock: Callable[[], None]) -> None:
    """Listen until cancelled.

    `on_orders` gets the numbers of the orders that changed, or None if any order may have changed unannounced.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            async with await _connect() as listener:
                await listener.execute(f"LISTEN {ORDERS}")
                await listener.execute(f"LISTEN {STOCK}")
                # What happened while no connection listened is found by reading everything again.
                on_orders(None)
                on_stock()
                pause = FIRST_PAUSE
                while True:
                    async for notice in listener.notifies(timeout=PROBE_EVERY):
                        if notice.channel == STOCK:
                            on_stock()
                        else:
                            on_orders(_numbers(notice.payload))
                    async with asyncio.timeout(ANSWERS_WITHIN):
                        await listener.execute("SELECT 1")
        except (psycopg.Error, OSError, TimeoutError) as error:
            log.warning("cannot listen for announcements of the database, next attempt in %.1f s: %s", pause, error)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads the web processes
        pause = min(pause * 2, LONGEST_PAUSE)


def _numbers(payload: str) -> set[int] | None:
    """Return the order numbers of an announcement, or None if the shop did not write it: then all orders are read."""
    try:
        return {int(number) for number in payload.split(",")}
    except ValueError:
        log.warning("an announcement is not understood: %.80r", payload)
        return None


async def _connect() -> psycopg.AsyncConnection[tuple[object, ...]]:
    """Return a new connection to Django's database, which is used for announcements only."""
    settings = connection.settings_dict
    options = {name: value for name, value in settings["OPTIONS"].items() if name in LIBPQ}
    named = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    options |= {name: settings[key] for name, key in named.items() if settings[key]}
    async with asyncio.timeout(ANSWERS_WITHIN):
        return await psycopg.AsyncConnection.connect(autocommit=True, **options)


LIBPQ = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
"""The options that go to the server. Django's own options, such as its pool, do not."""
