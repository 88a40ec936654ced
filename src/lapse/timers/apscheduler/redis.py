"""The job stores of one timer in a Redis: three of APScheduler's RedisJobStore."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import redis
from apscheduler.jobstores.redis import RedisJobStore

from lapse.engine.timer import Finding, TimerNames
from lapse.timers.apscheduler.job import timestamp
from lapse.timers.apscheduler.stores import STORES, Counts, Store, Transfer
from lapse.timers.redis.address import Address
from lapse.timers.redis.check import findings
from lapse.timers.redis.errors import translated
from lapse.timers.redis.generation import server_generation
from lapse.timers.redis.names import names_in_keys
from lapse.timers.redis.scripts import script


class RedisStores:
    """Three job stores, each with a hash of jobs and a sorted set of run times.

    The library's methods write one job at a time without a compare-and-set. So transfers run a script on the stores'
    keys.
    """

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client = client
        self._prefix = f"lapse:apscheduler:{{{name}}}:"
        self._stores = {
            store: RedisJobStore(
                jobs_key=self._prefix + store,
                run_times_key=f"{self._prefix}{store}_times",
                connection_pool=client.connection_pool,
            )
            for store in STORES
        }
        where = client.connection_pool.connection_kwargs
        server = where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"
        self.address = f"redis {server}/{where.get('db', 0)} {name}"

    def transfer(self, transfers: Sequence[Transfer]) -> set[str]:
        """Move jobs by one script. Return the ids of the moved jobs."""
        if not transfers:
            return set()
        args: list[bytes | str] = []
        for transfer in transfers:
            run_at = "" if transfer.run_at is None else repr(timestamp(transfer.run_at))
            args += [transfer.job_id, transfer.source, transfer.expected, transfer.target, transfer.state, run_at]
        moved: list[bytes] = script("transfer", "lapse.timers.apscheduler").run(self._client, self._prefix, args)
        return {job_id.decode() for job_id in moved}

    def find(self, store: Store, job_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the states of the jobs that the store has, by id."""
        if not job_ids:
            return {}
        with translated():
            states = self._client.hmget(self._stores[store].jobs_key, list(job_ids))
        return {job_id: state for job_id, state in zip(job_ids, _raw(states), strict=True) if state is not None}

    def earliest(self) -> datetime | None:
        """Return the earliest run time in the two stores that have run times."""
        with translated():
            times = [self._stores[store].get_next_run_time() for store in (Store.PENDING, Store.CLAIMED)]
        return min((time for time in times if time is not None), default=None)

    def due(self, store: Store, now: int, limit: int, *, newest: bool = False) -> list[bytes]:
        """Return the states of the oldest, or the newest, due jobs."""
        job_store = self._stores[store]
        with translated():
            if newest:
                ids = self._client.zrevrangebyscore(job_store.run_times_key, timestamp(now), "-inf", 0, limit)
            else:
                ids = self._client.zrangebyscore(job_store.run_times_key, "-inf", timestamp(now), 0, limit)
            states = self._client.hmget(job_store.jobs_key, _raw(ids)) if ids else []
        return [state for state in _raw(states) if state is not None]

    def buried(self) -> list[bytes]:
        """Return the states of all buried jobs."""
        with translated():
            return list(_raw(self._client.hvals(self._stores[Store.BURIED].jobs_key)))

    def counts(self, now: int) -> Counts:
        """Return the counts, by one transaction."""
        pending, claimed, buried = (self._stores[store] for store in STORES)
        at = timestamp(now)
        with translated():
            pipeline = self._client.pipeline()
            pipeline.zcard(pending.run_times_key)
            pipeline.zcount(pending.run_times_key, "-inf", at)
            pipeline.zcard(claimed.run_times_key)
            pipeline.hlen(buried.jobs_key)
            pipeline.zrangebyscore(pending.run_times_key, "-inf", at, 0, 1, withscores=True)
            pipeline.zrangebyscore(pending.run_times_key, f"({at!r}", "+inf", 0, 1, withscores=True)
            total, due, held, given_up, first, upcoming = pipeline.execute()
            ended = self.due(Store.CLAIMED, now, held) if held else []
        return Counts(
            pending=total,
            due=due,
            claimed=held,
            buried=given_up,
            oldest=_milliseconds(first),
            upcoming=_milliseconds(upcoming),
            ended=ended,
        )

    def server_generation(self) -> str:
        """Return a name for the server's process: after a restart, Redis may have lost jobs or have older jobs."""
        return server_generation(self._client)

    def names(self) -> TimerNames:
        """Return whether this timer has a key on the server, and if not, which others have."""
        with translated():
            if self._client.exists(*(self._prefix + store for store in STORES)):
                return TimerNames(known=True)
        return names_in_keys([self._client], "lapse:apscheduler:{*}:*", r"lapse:apscheduler:\{(.+)\}:[a-z_]+")

    def findings(self) -> Iterable[Finding]:
        """Return findings about eviction and persistence."""
        return findings(self._client)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _raw(found: Any) -> Any:  # noqa: ANN401 - the library's types allow for answers that are decoded to text
    """Return the answer unchanged: this client decodes nothing."""
    return found


def _milliseconds(found: list[tuple[bytes, float]]) -> int | None:
    """Return the run time of the first job, in milliseconds since 1970; None if there is no job."""
    return round(found[0][1] * 1000) if found else None


def open_stores(url: str, *, name: str) -> RedisStores:
    """Return the job stores of a timer, at a URL such as apscheduler+redis://localhost:6379/0."""
    client = Address.parse(url).connect()
    assert isinstance(client, redis.Redis)  # noqa: S101 - the schemes know no cluster, which the library cannot use
    return RedisStores(client, name)
