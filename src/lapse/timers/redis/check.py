"""The checks of `lapse check` on a Redis server: whether its settings keep deadlines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import redis

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import TimerError, TimerRefused
from lapse.engine.timer import Finding
from lapse.timers.redis.client import SUPPORTED, is_sentinel, is_too_old, master_in, product
from lapse.timers.redis.errors import translated
from lapse.timers.redis.notifications import SETTING, announced_flags, announces, by_hand, set_flags, with_flags
from lapse.timers.redis.permissions import Command, denied
from lapse.timers.redis.replies import REPLICA, SENTINEL

CLOCKS_AGREE = timedelta(seconds=1)
"""The largest difference allowed between clocks: hosts compute deadlines, the server's clock says when they are due."""

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a timer needs from its server."""

    commands: Sequence[Command] = ()
    """The commands that the timer runs. Empty if a library runs the commands and this host's clock decides."""
    flags: str = ""
    """The flags of notify-keyspace-events."""
    expiring: bool = False
    """Whether the timer depends on keys that expire."""
    relative: bool = False
    """Whether deadlines are stored as times to live, so that the clocks need not agree."""
    tried_with: str = ""
    """A key that belongs to the timer, for testing whether events come."""
    no_cluster: str = ""
    """The reason why the timer cannot use a node of a cluster; "" if it can."""


LIBRARY_NEEDS = Needs()
"""The needs of a timer whose commands a library runs."""


def findings(server: redis.Redis, needs: Needs = LIBRARY_NEEDS) -> Iterator[Finding]:
    """Yield a finding each about version, permissions, events, eviction, persistence and clock. Changes nothing."""
    try:
        with translated():
            info: dict[str, Any] = server.info("everything") or server.info()  # a Sentinel knows no "everything"
    except TimerRefused as error:
        if needs.commands and (missing := sorted(set(denied(server, needs.commands)))):
            yield _rights(missing)
        yield Finding(fit=False, text=f"version, role, eviction and persistence are not checked: {error}")
        return
    if is_sentinel(info):
        yield Finding(fit=False, text=SENTINEL)
        return
    missing = sorted(set(denied(server, needs.commands))) if needs.commands else []
    yield _version(info, needs)
    if master := master_in(info):
        yield Finding(fit=False, text=REPLICA.format(master))
    if needs.commands:
        yield _rights(missing)
    yield _events(server, needs)
    yield _eviction(info, needs)
    yield _persistence(server, info, needs)
    if needs.commands and "TIME" not in missing:
        try:
            yield _clock(server, needs)
        except TimerRefused as error:
            yield Finding(fit=False, text=f"the server's clock is not checked: {error}")


def _version(info: dict[str, Any], needs: Needs) -> Finding:
    kind = "a node of a cluster" if info.get("cluster_enabled") else "no cluster"
    found = f"{product(info)}, {kind}"
    if is_too_old(info):
        return Finding(fit=False, text=f"{found}; Lapse needs {SUPPORTED}")
    if needs.no_cluster and info.get("cluster_enabled"):
        return Finding(fit=False, text=f"{found}; {needs.no_cluster}")
    return Finding(fit=True, text=found)


def _rights(missing: Sequence[str]) -> Finding:
    if not missing:
        return Finding(fit=True, text="this user may do everything that is needed")
    return Finding(
        fit=False,
        text=f"with the keys and channels that are needed, this user may not run: {', '.join(missing)}; "
        "permit them by ACL SETUSER",
    )


def _events(server: redis.Redis, needs: Needs) -> Finding:
    try:
        flags = announced_flags(server)
    except TimerError as error:
        text = f"{SETTING} cannot be looked up ({str(error).partition(';')[0]})"
        if not needs.flags:
            return Finding(fit=True, text=f"{text}; this timer needs no events")
        if needs.tried_with and announces(server, needs.tried_with):
            return Finding(fit=True, text=f"{text}, but the events that are needed were tried out, and they come")
        return Finding(fit=False, text=f"{text}; permit CONFIG GET to this user. {by_hand(needs.flags)}")
    wanted = with_flags(flags, needs.flags)
    setting = f'{SETTING} "{flags}"'
    if not needs.flags:
        return Finding(
            fit=True,
            text=f"{setting}; this timer needs no events. redis+expiry:// would need {SETTING} "
            f"{with_flags(flags, 'Ex')}, lapse watch {SETTING} {with_flags(flags, 'Kg$x')}",
        )
    if wanted == flags:
        return Finding(fit=True, text=f"{setting} sends the events that are needed")
    return Finding(
        fit=False,
        text=f"{setting} does not send the events that are needed; add this line to redis.conf: {SETTING} {wanted}",
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
    if "maxmemory" not in info:
        text = "whether keys are evicted is not checked: INFO has no maxmemory. The policy must be noeviction"
        return Finding(fit=True, text=text)
    if not info.get("maxmemory") or policy == "noeviction":
        return Finding(fit=True, text="deadlines are never evicted")
    if not policy.startswith("volatile"):
        text = f"maxmemory-policy {policy} loses deadlines when memory is short: set maxmemory-policy noeviction"
        return Finding(fit=False, text=text)
    if needs.expiring:
        text = (
            f"maxmemory-policy {policy} evicts keys that expire when memory is short, and this timer's deadlines are "
            "such keys: set maxmemory-policy noeviction"
        )
        return Finding(fit=False, text=text)
    return Finding(fit=True, text=f"maxmemory-policy {policy} evicts keys that expire, and the queue's keys do not")


def _persistence(server: redis.Redis, info: dict[str, Any], needs: Needs) -> Finding:
    remedy = "the sweep over the orders finds what is lost, within its interval"
    if needs.relative:
        remedy = "the shop's keys are lost too, so only the shop itself can find its unpaid orders again"
    if info.get("aof_enabled"):
        return Finding(fit=True, text=f"appendonly yes: a crash loses at most the last second or so; {remedy}")
    try:
        with translated():
            save = server.config_get("save").get("save", "")
    except TimerError as error:
        text = f"appendonly no, and whether snapshots are saved is not checked ({error}); {remedy}"
        return Finding(fit=True, text=text)
    loss = "a crash loses everything since the last snapshot" if save else "a crash loses every deadline"
    return Finding(fit=True, text=f"appendonly no: {loss}; {remedy}. To lose less: appendonly yes")


def _clock(server: redis.Redis, needs: Needs) -> Finding:
    """Return the difference between the server's clock and this host's, from the quickest of five answers."""
    answers = []
    for _ in range(5):
        before, started = SYSTEM_CLOCK.now(), SYSTEM_CLOCK.monotonic()
        with translated():
            seconds, microseconds = server.time()
        trip = timedelta(seconds=SYSTEM_CLOCK.monotonic() - started)
        server_time = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        answers.append((trip, server_time - before - trip / 2))
    trip, ahead = min(answers)
    offset = f"{abs(ahead) / MILLISECOND:,.1f} ms {'ahead of' if ahead > timedelta(0) else 'behind'} this host's"
    text = f"the server's clock is {offset}, give or take {trip / 2 / MILLISECOND:.1f} ms"
    if abs(ahead) - trip / 2 <= CLOCKS_AGREE:
        return Finding(fit=True, text=text)
    if needs.relative:
        return Finding(fit=True, text=f"{text}; keys have a time to live, so this moves no deadline")
    return Finding(
        fit=False, text=f"{text}: deadlines computed on this host are wrong by as much. Let both hosts follow NTP"
    )
