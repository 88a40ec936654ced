"""Which changes of keys a Redis server announces: `notify-keyspace-events`, looked up, set, or refused."""

from contextlib import suppress
from typing import Any

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerRefused
from lapse.timers.redis.server import database, translated

SETTING = "notify-keyspace-events"
TRY_FOR = 2.0
"""Seconds within which events that are tried out must come."""

ALL = "g$lshzxetd"
"""What the flag A stands for."""


def announced(server: redis.Redis) -> str:
    """Read the flags. Raises TimerRefused where the user may not."""
    with translated():
        found: Any = server.config_get(SETTING)
    return str(found.get(SETTING, ""))


def with_flags(flags: str, needed: str) -> str:
    """Give the flags with those that are needed added. None is taken away: others may listen to their events."""
    there = flags + (ALL if "A" in flags else "")
    return flags + "".join(flag for flag in needed if flag not in there)


def set_flags(server: redis.Redis, needed: str) -> str:
    """Add the flags that are needed to those the server has. Returns those it has then.

    Raises TimerRefused, with the line that somebody else must add, where the user may not.
    """
    wanted = with_flags(announced(server), needed)
    with translated():
        try:
            server.config_set(SETTING, wanted)
        except redis.ResponseError as error:
            raise TimerRefused(
                f"Redis does not announce what is needed, and this user may not change that ({error}). Add this line "
                f"to redis.conf and restart, or run CONFIG SET with the same words:\n    {SETTING} {wanted}"
            ) from error
    return wanted


def require_notifications(server: redis.Redis, needed: str, *, tried_with: str = "") -> str:
    """Make sure that the server announces what is needed. Returns the flags that it had to be given, "" for none.

    Where the flags cannot be looked up, as with many a provider, the events are tried out with the key `tried_with`.
    Raises TimerRefused, with the line that makes it, where that cannot be looked up, tried or set.
    """
    try:
        flags = announced(server)
    except TimerRefused as error:
        if tried_with and announces(server, tried_with):
            return ""
        raise TimerRefused(
            f"cannot see whether Redis announces what happens to keys ({error.__cause__}). Permit CONFIG GET to this "
            f"user, and let redis.conf have the line:\n    {SETTING} {needed}"
        ) from error
    return "" if with_flags(flags, needed) == flags else set_flags(server, needed)


def announces(server: redis.Redis, key: str) -> bool:
    """Try out whether it is announced, under its name, that a key is set, is given a time to live, and expires.

    False also where this user may not try it out: then it is not known.
    """
    wanted = {b"set", b"expire", b"expired"}
    with suppress(TimerRefused), translated(), server.pubsub() as pubsub:  # type: ignore[no-untyped-call] # the library has no types here
        pubsub.subscribe(f"__keyspace@{database(server)}__:{key}")
        end = SYSTEM_CLOCK.monotonic() + TRY_FOR
        while wanted and SYSTEM_CLOCK.monotonic() < end:
            message = pubsub.get_message(timeout=0.05)
            if message is None:
                server.exists(key)  # to look at a key whose time has come is what makes Redis announce it
            elif message["type"] == "subscribe":
                server.set(key, "", px=1)
            else:
                wanted.discard(message["data"])
    return not wanted
