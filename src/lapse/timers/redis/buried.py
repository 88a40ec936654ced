"""The buried deadlines of one timer, by `buried.lua`."""

from lapse.engine.deadline import Buried, from_milliseconds
from lapse.timers.redis.scripts import RunScript
from lapse.timers.redis.shards import SCRIPT_MEMBERS, Shards


def list_buried(run: RunScript, shards: Shards, limit: int) -> list[Buried]:
    """Return up to `limit` buried deadlines of all shards, the longest buried first."""
    found: list[Buried] = []
    for shard in shards:
        flat = _of_shard(run, shard, limit)
        for key, buried_at, details in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            attempt, due, reason = details.split(b":", 2)
            at = from_milliseconds(int(buried_at))
            text = reason.decode(errors="replace")
            found.append(Buried(key.decode(), from_milliseconds(int(due)), int(attempt), text, at))
    return sorted(found, key=lambda buried: buried.buried_at)[:limit]


def _of_shard(run: RunScript, shard: str, limit: int) -> list[bytes]:
    """Return key, time of burial and "attempt:due:reason" for each buried deadline of a shard, read in parts."""
    flat: list[bytes] = []
    for start in range(0, limit, SCRIPT_MEMBERS):
        part = run("buried", shard, [start, min(limit - start, SCRIPT_MEMBERS)])
        flat += part
        if len(part) < 3 * SCRIPT_MEMBERS:
            break
    return flat
