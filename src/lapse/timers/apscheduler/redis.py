"""The job stores of one timer in a Redis: APScheduler's RedisJobStore, three times."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import redis
from apscheduler.jobstores.redis import RedisJobStore

from lapse.engine.timer import Finding
from lapse.timers.apscheduler.job import timestamp
from lapse.timers.apscheduler.stores import STORES, Figures, Move, Place
from lapse.timers.redis.address import Address
from lapse.timers.redis.check import findings
from lapse.timers.redis.errors import translated
from lapse.timers.redis.generation import server_generation
from lapse.timers.redis.scripts import script


class RedisJobs:
    """A hash of jobs and a sorted set of run times per store.

    The stores' own methods write one job at a time and do not compare. Moves go by a script through the client that
    the stores have, into the keys that they have.
    """

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client = client
        self._prefix = f"lapse:apscheduler:{{{name}}}:"
        self._stores = {
            place: RedisJobStore(
                jobs_key=self._prefix + place,
                run_times_key=f"{self._prefix}{place}_times",
                connection_pool=client.connection_pool,
            )
            for place in STORES
        }
        where = client.connection_pool.connection_kwargs
        server = where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"
        self.address = f"redis {server}/{where.get('db', 0)} {name}"

    def move(self, moves: Sequence[Move]) -> set[str]:
        """Move by one script."""
        if not moves:
            return set()
        args: list[bytes | str] = []
        for move in moves:
            run_at = "" if move.run_at is None else repr(timestamp(move.run_at))
            args += [move.job_id, move.source, move.expected, move.target, move.state, run_at]
        moved: list[bytes] = script("apscheduler_move").run(self._client, self._prefix, args)
        return {job_id.decode() for job_id in moved}

    def find(self, place: Place, job_ids: Sequence[str]) -> dict[str, bytes]:
        """Read some."""
        if not job_ids:
            return {}
        with translated():
            states = self._client.hmget(self._stores[place].jobs_key, list(job_ids))
        return {job_id: state for job_id, state in zip(job_ids, _raw(states), strict=True) if state is not None}

    def earliest(self) -> datetime | None:
        """Ask both stores that have times."""
        with translated():
            times = [self._stores[place].get_next_run_time() for place in (Place.PENDING, Place.CLAIMED)]
        return min((time for time in times if time is not None), default=None)

    def due(self, place: Place, now: int, limit: int, *, newest: bool = False) -> list[bytes]:
        """Read the first or the last of those due."""
        store = self._stores[place]
        with translated():
            if newest:
                ids = self._client.zrevrangebyscore(store.run_times_key, timestamp(now), "-inf", 0, limit)
            else:
                ids = self._client.zrangebyscore(store.run_times_key, "-inf", timestamp(now), 0, limit)
            states = self._client.hmget(store.jobs_key, _raw(ids)) if ids else []
        return [state for state in _raw(states) if state is not None]

    def buried(self) -> list[bytes]:
        """Read all of that store."""
        with translated():
            return list(_raw(self._client.hvals(self._stores[Place.BURIED].jobs_key)))

    def figures(self, now: int) -> Figures:
        """Count in one transaction."""
        pending, claimed, buried = (self._stores[place] for place in STORES)
        at = timestamp(now)
        with translated():
            pipeline = self._client.pipeline()
            pipeline.zcard(pending.run_times_key)
            pipeline.zcount(pending.run_times_key, "-inf", at)
            pipeline.zcard(claimed.run_times_key)
            pipeline.hlen(buried.jobs_key)
            pipeline.zrangebyscore(pending.run_times_key, "-inf", at, 0, 1, withscores=True)
            pipeline.zrangebyscore(pending.run_times_key, f"({at!r}", "+inf", 0, 1, withscores=True)
            total, due, held, graves, first, upcoming = pipeline.execute()
            ended = self.due(Place.CLAIMED, now, held) if held else []
        return Figures(
            pending=total,
            due=due,
            claimed=held,
            buried=graves,
            oldest=_milliseconds(first),
            upcoming=_milliseconds(upcoming),
            ended=ended,
        )

    def identity(self) -> str:
        """Name the server's process: it may come back without its data, or with older ones."""
        return server_generation(self._client)

    def findings(self) -> Iterable[Finding]:
        """Look at eviction and persistence."""
        return findings(self._client)

    def close(self) -> None:
        """Give up the connections."""
        self._client.close()


def _raw(found: Any) -> Any:  # noqa: ANN401 - the library's types allow for answers that are decoded to text
    """What the client gives, which decodes nothing."""
    return found


def _milliseconds(found: list[tuple[bytes, float]]) -> int | None:
    """When the first of these is to run."""
    return round(found[0][1] * 1000) if found else None


def open_jobs(url: str, *, name: str) -> RedisJobs:
    """Open by URL, for example redis://localhost:6379/0."""
    client = Address.parse(url, own=()).connect()
    assert isinstance(client, redis.Redis)  # noqa: S101 - the schemes know no cluster, which the library cannot use
    return RedisJobs(client, name)
