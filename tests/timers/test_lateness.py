"""An idle worker sleeps until exactly the deadline: never early, however busy the machine is."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from lapse import Claim, Deadline, Timer, open_timer
from lapse.testing.conformance import LONG, ahead
from lapse.testing.servers import RedisServer
from lapse.timers.memory import MemoryTimer
from tests.each_redis import with_each_redis

COUNT = 50


@pytest.fixture(params=["memory", *with_each_redis("redis"), *with_each_redis("redis, three shards")])
def open_any(
    request: pytest.FixtureRequest, redis_of: Callable[[Path], RedisServer], timer_name: str
) -> Callable[[], Timer]:
    """Open the timer in memory, or one on a server."""
    if request.param == "memory":
        return lambda: MemoryTimer(timer_name)
    kind, binary = request.param
    shards = 3 if "three" in kind else 1
    return lambda: open_timer(f"{redis_of(binary).url}?shards={shards}", name=timer_name)


def test_never_early(open_any: Callable[[], Timer]) -> None:
    """Deadlines at arbitrary moments, some in the same millisecond, each arrive after their time."""
    with open_any() as timer:
        begin = ahead(timedelta(milliseconds=150))
        due = {str(number): begin + timedelta(microseconds=3_337 * (number // 2) + number) for number in range(COUNT)}
        timer.arm([Deadline(key, at) for key, at in due.items()])
        claims: list[Claim] = []
        while len(claims) < COUNT:
            claims += timer.claim(wait=timedelta(seconds=30), lease=LONG)
        assert all(claim.claimed_at >= due[claim.key] for claim in claims)
        assert all(claim.due_at >= due[claim.key] for claim in claims)
        late = sorted(claim.late_by for claim in claims)
        print(f"median {late[COUNT // 2]}, most {late[-1]}")  # noqa: T201 - a figure for a developer who runs this with -s


def test_an_idle_claim_sleeps(redis_server: RedisServer, timer_name: str) -> None:
    """A claim looks when it begins, when a deadline may have been armed, and at the deadline: not all the time."""
    with open_timer(redis_server.url, name=timer_name) as timer:
        timer.arm([Deadline("1", ahead(timedelta(seconds=1.5)))])
        redis_server.ask("CONFIG", "RESETSTAT")
        assert len(timer.claim(wait=timedelta(seconds=30))) == 1
        line = next(line for line in str(redis_server.ask("INFO", "commandstats")).splitlines() if "evalsha:" in line)
        assert int(line.split("calls=")[1].split(",")[0]) <= 10
