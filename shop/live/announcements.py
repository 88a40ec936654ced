"""Hearing what the database announces: one connection per web process, opened again whenever it is lost."""

import asyncio
import logging
import random
from collections.abc import Callable

import psycopg
from django.db import connection

log = logging.getLogger("shop.live")

ORDERS, STOCK = "shop_orders", "shop_stock"
"""The channels. The first carries the numbers of orders, separated by commas; the second nothing."""

PROBE_EVERY = 15.0
"""Seconds of silence after which the connection is asked whether it lives."""
ANSWERS_WITHIN = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds until a lost connection is opened again: doubled each time, from the first to the longest."""


async def hear(orders: Callable[[set[int] | None], None], stock: Callable[[], None]) -> None:
    """Listen until cancelled. `orders` gets the numbers that changed, or None: any may have changed, unheard."""
    pause = FIRST_PAUSE
    while True:
        try:
            async with await _connect() as heard:
                await heard.execute(f"LISTEN {ORDERS}")
                await heard.execute(f"LISTEN {STOCK}")
                # What happened while nobody listened is found by reading everything anew.
                orders(None)
                stock()
                pause = FIRST_PAUSE
                while True:
                    async for notice in heard.notifies(timeout=PROBE_EVERY):
                        if notice.channel == STOCK:
                            stock()
                        else:
                            orders(_numbers(notice.payload))
                    async with asyncio.timeout(ANSWERS_WITHIN):
                        await heard.execute("SELECT 1")
        except (psycopg.Error, OSError, TimeoutError) as error:
            log.warning("announcements are not heard, trying again in %.1f s: %s", pause, error)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads the web processes
        pause = min(pause * 2, LONGEST_PAUSE)


def _numbers(payload: str) -> set[int] | None:
    """Read the order numbers of an announcement; None, so that all are read anew, where it is none of the shop's."""
    try:
        return {int(number) for number in payload.split(",")}
    except ValueError:
        log.warning("an announcement is not understood: %.80r", payload)
        return None


async def _connect() -> psycopg.AsyncConnection[tuple[object, ...]]:
    """Open a connection to Django's database that is nobody else's."""
    settings = connection.settings_dict
    options = {name: value for name, value in settings["OPTIONS"].items() if name in LIBPQ}
    named = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    options |= {name: settings[key] for name, key in named.items() if settings[key]}
    async with asyncio.timeout(ANSWERS_WITHIN):
        return await psycopg.AsyncConnection.connect(autocommit=True, **options)


LIBPQ = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
"""The options that go to the server; Django's own, such as its pool, do not."""
