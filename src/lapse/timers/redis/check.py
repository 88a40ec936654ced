"""Whether a Redis server is set up so that it keeps deadlines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerError, TimerRefused
from lapse.engine.timer import Finding
from lapse.timers.redis.notifications import SETTING, announced, announces, set_flags, with_flags
from lapse.timers.redis.permissions import Command, denied
from lapse.timers.redis.server import OLDEST, translated

CLOCKS_AGREE = timedelta(seconds=1)
"""Deadlines are reckoned by the shop's hosts and come due by the server's clock: further apart is a fault."""

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a timer needs of its server.

    `commands` are those that it gives; without any it is a library that talks to the server, and goes by this host's
    clock. `flags` are those of notify-keyspace-events, `expiring` is whether it depends on keys that expire, `relative`
    whether deadlines come as times to live, so that clocks need not agree. `tried_with` is a key of its own with which
    events may be tried out. `no_cluster` is why a cluster's node will not do, "" where it will.
    """

    commands: Sequence[Command] = ()
    flags: str = ""
    expiring: bool = False
    relative: bool = False
    tried_with: str = ""
    no_cluster: str = ""


NOTHING_OF_ITS_OWN = Needs()


def findings(server: redis.Redis, needs: Needs = NOTHING_OF_ITS_OWN) -> Iterator[Finding]:
    """Look at version, rights, events, eviction, persistence and clock. Changes nothing."""
    missing = sorted(set(denied(server, needs.commands))) if needs.commands else []
    try:
        with translated():
            info: dict[str, Any] = server.info("everything")
    except TimerRefused as error:
        if missing:
            yield _rights(missing)
        yield Finding(fit=False, text=str(error))
        return
    yield _version(info, needs)
    if needs.commands:
        yield _rights(missing)
    yield _events(server, needs)
    yield _eviction(info, needs)
    yield _persistence(server, info, needs)
    if needs.commands and "TIME" not in missing:
        yield _clock(server, needs)


def _version(info: dict[str, Any], needs: Needs) -> Finding:
    product = "Valkey" if "valkey_version" in info else "Redis"
    kind = "a node of a cluster" if info.get("cluster_enabled") else "no cluster"
    found = f"{product} {info.get('valkey_version', info['redis_version'])}, {kind}"
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < OLDEST:
        return Finding(fit=False, text=f"{found}; Lapse needs {OLDEST[0]}.{OLDEST[1]} or later, or Valkey")
    if needs.no_cluster and info.get("cluster_enabled"):
        return Finding(fit=False, text=f"{found}; {needs.no_cluster}")
    return Finding(fit=True, text=found)


def _rights(missing: Sequence[str]) -> Finding:
    if not missing:
        return Finding(fit=True, text="this user may do everything that is needed")
    return Finding(
        fit=False,
        text=f"this user may not, with the keys and channels that are needed: {', '.join(missing)}; "
        "permit them by ACL SETUSER",
    )


def _events(server: redis.Redis, needs: Needs) -> Finding:
    try:
        flags = announced(server)
    except TimerError as error:
        text = f"{SETTING} cannot be looked up ({error.__cause__})"
        if not needs.flags:
            return Finding(fit=True, text=f"{text}; this timer needs no events")
        if needs.tried_with and announces(server, needs.tried_with):
            return Finding(fit=True, text=f"{text}, but what is needed is announced: it was tried out")
        return Finding(fit=False, text=f"{text}; permit CONFIG GET to this user. Needed: {SETTING} {needs.flags}")
    wanted = with_flags(flags, needs.flags)
    said = f'{SETTING} "{flags}"'
    if not needs.flags:
        return Finding(
            fit=True,
            text=f"{said}; this timer needs no events. redis+expiry:// would need {SETTING} {with_flags(flags, 'Ex')}, "
            f"lapse watch {SETTING} {with_flags(flags, 'Kg$x')}",
        )
    if wanted == flags:
        return Finding(fit=True, text=f"{said} announces what is needed")
    return Finding(
        fit=False,
        text=f"{said} does not announce what is needed; add this line to redis.conf: {SETTING} {wanted}",
        fix=partial(_set_events, server, needs.flags),
    )


def _set_events(server: redis.Redis, flags: str) -> str:
    wanted = set_flags(server, flags)
    return (
        f'{SETTING} is "{wanted}" now, until Redis is restarted. For good, add this line to redis.conf, or run '
        f"CONFIG REWRITE: {SETTING} {wanted}"
    )


def _eviction(info: dict[str, Any], needs: Needs) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if not info.get("maxmemory") or policy == "noeviction":
        return Finding(fit=True, text="deadlines are never evicted")
    if not policy.startswith("volatile"):
        text = f"maxmemory-policy {policy} loses deadlines when memory is short: set maxmemory-policy noeviction"
        return Finding(fit=False, text=text)
    if needs.expiring:
        text = (
            f"maxmemory-policy {policy} takes away keys that expire when memory is short, and these are the ones that "
            "count: set maxmemory-policy noeviction"
        )
        return Finding(fit=False, text=text)
    return Finding(fit=True, text=f"maxmemory-policy {policy} evicts keys that expire, and the queue's keys do not")


def _persistence(server: redis.Redis, info: dict[str, Any], needs: Needs) -> Finding:
    covered = "the sweep over the orders finds what is lost, within its interval"
    if needs.relative:
        covered = "the shop's keys are lost with it, so only a look at its unpaid orders finds these"
    if info.get("aof_enabled"):
        return Finding(fit=True, text=f"appendonly yes: a crash loses at most the last second or so; {covered}")
    try:
        with translated():
            save = server.config_get("save").get("save", "")
    except TimerError:
        save = "unknown"
    what = "a crash loses everything since the last snapshot" if save else "a crash loses every deadline"
    return Finding(fit=True, text=f"appendonly no: {what}; {covered}. To lose less: appendonly yes")


def _clock(server: redis.Redis, needs: Needs) -> Finding:
    """Compare the server's clock with this host's; the quickest of some answers says it best."""
    looks = []
    for _ in range(5):
        before, begun = SYSTEM_CLOCK.now(), SYSTEM_CLOCK.monotonic()
        with translated():
            seconds, microseconds = server.time()
        trip = timedelta(seconds=SYSTEM_CLOCK.monotonic() - begun)
        there = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        looks.append((trip, there - before - trip / 2))
    trip, ahead = min(looks)
    far = f"{abs(ahead) / MILLISECOND:,.1f} ms {'ahead of' if ahead > timedelta(0) else 'behind'} this host's"
    text = f"the server's clock is {far}, give or take {trip / 2 / MILLISECOND:.1f} ms"
    if abs(ahead) - trip / 2 <= CLOCKS_AGREE:
        return Finding(fit=True, text=text)
    if needs.relative:
        return Finding(fit=True, text=f"{text}; keys have a time to live, so that no deadline moves by it")
    return Finding(fit=False, text=f"{text}: deadlines reckoned here are off by as much. Let both follow NTP")
