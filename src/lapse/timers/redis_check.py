"""Whether a Redis server is set up so that it keeps deadlines."""

from collections.abc import Iterator
from typing import Any

import redis

from lapse.engine.errors import TimerError
from lapse.engine.timer import Finding
from lapse.timers.redis_server import translated


def findings(server: redis.Redis) -> Iterator[Finding]:
    """Look at the version, at what is evicted when memory is short, and at what a crash would lose."""
    with translated():
        info: dict[str, Any] = server.info("everything")
    product = "Valkey" if "valkey_version" in info else "Redis"
    yield Finding(fit=True, text=f"{product} {info.get('valkey_version', info['redis_version'])}")
    yield _eviction(info)
    yield _persistence(server, info)


def _eviction(info: dict[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if not info.get("maxmemory") or policy == "noeviction":
        return Finding(fit=True, text="deadlines are never evicted")
    if policy.startswith("volatile"):
        return Finding(fit=True, text=f"maxmemory-policy {policy} evicts keys that expire, and the queue's keys do not")
    return Finding(
        fit=False,
        text=f"maxmemory-policy {policy} loses deadlines when memory is short: set maxmemory-policy noeviction",
    )


def _persistence(server: redis.Redis, info: dict[str, Any]) -> Finding:
    covered = "the sweep over the orders finds what is lost, within its interval"
    if info.get("aof_enabled"):
        return Finding(fit=True, text=f"appendonly yes: a crash loses at most the last second or so; {covered}")
    try:
        with translated():
            save = server.config_get("save").get("save", "")
    except TimerError:
        save = "unknown"
    what = "a crash loses everything since the last snapshot" if save else "a crash loses every deadline"
    return Finding(fit=True, text=f"appendonly no: {what}; {covered}. To lose less: appendonly yes")
