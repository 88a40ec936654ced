"""An idle worker sleeps until the very deadline: never early, whoever else is busy."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from lapse import Claim, Deadline, Timer, open_timer
from lapse.testing.conformance import LONG, ahead
from lapse.testing.servers import RedisServer
from lapse.timers.memory import MemoryTimer

COUNT = 50


@pytest.fixture(params=["memory", "redis", "redis, three shards"])
def open_any(request: pytest.FixtureRequest, redis_server: RedisServer, timer_name: str) -> Callable[[], Timer]:
    """Open the timer in memory, or one on a server."""
    shards = 3 if "three" in request.param else 1
    return {
        "memory": lambda: MemoryTimer(timer_name),
    }.get(request.param, lambda: open_timer(f"{redis_server.url}?shards={shards}", name=timer_name))


def test_never_early(open_any: Callable[[], Timer]) -> None:
    """Deadlines at odd moments, some in one millisecond, each come after their time, in order, with few looks."""
    with open_any() as timer:
        begin = ahead(timedelta(milliseconds=150))
        due = {str(number): begin + timedelta(microseconds=3_337 * (number // 2) + number) for number in range(COUNT)}
        timer.arm([Deadline(key, at) for key, at in due.items()])
        claims: list[Claim] = []
        calls = 0
        while len(claims) < COUNT:
            claims += timer.claim(wait=timedelta(seconds=30), lease=LONG)
            calls += 1
        assert all(claim.claimed_at >= due[claim.key] for claim in claims)
        assert all(claim.due_at >= due[claim.key] for claim in claims)
        assert calls <= COUNT  # none came back empty
        late = sorted(claim.late_by for claim in claims)
        print(f"median {late[COUNT // 2]}, most {late[-1]}")  # noqa: T201 - a figure for whoever runs this with -s
