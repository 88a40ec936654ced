"""The events that a Redis server sends when keys change: `notify-keyspace-events` is read, set, or refused."""

from contextlib import suppress
from typing import Any

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerRefused
from lapse.timers.redis.client import database_number
from lapse.timers.redis.errors import translated

SETTING = "notify-keyspace-events"
TRY_FOR = 2.0
"""Seconds within which the event of a test key must come."""

ALL = "g$lshzxetd"
"""The flags that the flag A includes."""


def announced_flags(server: redis.Redis) -> str:
    """Return the server's flags. Raises TimerRefused if the user may not read them."""
    with translated():
        setting: Any = server.config_get(SETTING)
    return str(setting.get(SETTING, ""))


def with_flags(flags: str, needed: str) -> str:
    """Return the flags with the needed flags added. No flag is removed: other programs may need its events."""
    present = flags + (ALL if "A" in flags else "")
    return flags + "".join(flag for flag in needed if flag not in present)


def by_hand(flags: str) -> str:
    """Return how an operator sets the flags, on a server of their own and at a provider without CONFIG."""
    return (
        "Add this line to redis.conf and restart, or run CONFIG SET with the same words; where a provider has no "
        f"CONFIG, set the parameter of this name in the provider's console: {SETTING} {flags}"
    )


def set_flags(server: redis.Redis, needed: str) -> str:
    """Add the needed flags to the server's setting, and return the flags that the server then has.

    Raises TimerRefused if the user may not change it. The message has the line that the operator must add.
    """
    wanted = with_flags(announced_flags(server), needed)
    with translated():
        try:
            server.config_set(SETTING, wanted)
        except redis.ResponseError as error:
            raise TimerRefused(
                f"Redis does not send the events that are needed, and this user may not change that ({error}). "
                f"{by_hand(wanted)}"
            ) from error
    return wanted


def require_notifications(server: redis.Redis, needed: str, *, tried_with: str = "") -> str:
    """Make sure that the server sends the needed events. Return the new flags if they had to be set, otherwise "".

    Many hosting providers do not let users read the flags. Then a test with the key `tried_with` shows whether events
    come. Raises TimerRefused if the events are missing or unknown and the flags cannot be set. The message has the line
    to add.
    """
    try:
        flags = announced_flags(server)
    except TimerRefused as error:
        if tried_with and announces(server, tried_with):
            return ""
        raise TimerRefused(
            f"cannot see whether Redis sends events when keys change ({str(error).partition(';')[0]}). "
            f"Permit CONFIG GET to this user. {by_hand(needed)}"
        ) from error
    return "" if with_flags(flags, needed) == flags else set_flags(server, needed)


def announces(server: redis.Redis, key: str) -> bool:
    """Return whether the server sends an event to the key's channel when the key is set, gets a TTL, and expires.

    This sets the key as a test. Return False also if the user may not set it, although events may come then.
    """
    missing = {b"set", b"expire", b"expired"}
    with suppress(TimerRefused), translated(), server.pubsub() as pubsub:  # type: ignore[no-untyped-call] # the library has no types here
        pubsub.subscribe(f"__keyspace@{database_number(server)}__:{key}")
        end = SYSTEM_CLOCK.monotonic() + TRY_FOR
        while missing and SYSTEM_CLOCK.monotonic() < end:
            message = pubsub.get_message(timeout=0.05)
            if message is None:
                server.exists(key)  # Redis deletes a key whose time has come, and sends the event, when the key is read
            elif message["type"] == "subscribe":
                server.set(key, "", px=1)
            else:
                missing.discard(message["data"])
    return not missing
