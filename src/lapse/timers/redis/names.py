"""The names of the timers on a Redis: each timer stores a name of its data, and these keys are looked for."""

import re
from collections.abc import Iterable
from typing import cast

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.timer import TimerNames
from lapse.timers.redis.client import Client, primaries
from lapse.timers.redis.errors import translated
from lapse.timers.redis.shards import Shards

STEP = 1000
"""How many keys the server scans in one command, which takes it about a millisecond."""

MOST_SECONDS = 2.0
"""How long each server is searched. Between two steps the server has as long a pause as the step took."""


def timer_names(client: Client, shards: Shards) -> TimerNames:
    """Return whether this timer has stored anything, and if not, which others have. Changes nothing."""
    with translated():
        if client.exists(shards[0] + "epoch"):
            return TimerNames(known=True)
    return names_in_keys(primaries(client), "lapse:{*:0}:epoch", r"lapse:\{(.+):0\}:epoch")


def names_in_keys(servers: Iterable[redis.Redis], glob: str, expression: str) -> TimerNames:
    """Return the names in the keys that match the glob pattern: the first group of the regular expression."""
    found: set[str] = set()
    complete = True
    for server in servers:
        cursor, end = 0, SYSTEM_CLOCK.monotonic() + MOST_SECONDS
        while True:
            begun = SYSTEM_CLOCK.monotonic()
            with translated():
                cursor, keys = cast("tuple[int, list[bytes]]", server.scan(cursor, match=glob, count=STEP))
            found |= {
                name[1].decode(errors="replace") for key in keys if (name := re.fullmatch(expression.encode(), key))
            }
            if not cursor:
                break
            if SYSTEM_CLOCK.monotonic() > end:
                complete = False
                break
            SYSTEM_CLOCK.sleep(SYSTEM_CLOCK.monotonic() - begun)
    return TimerNames(known=False, others=tuple(sorted(found)), complete=complete)
