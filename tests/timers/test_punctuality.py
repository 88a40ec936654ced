"""On time: a claim wakes for its deadline, and when an earlier one is armed, not at its next safety look."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lapse import Claim, Deadline, Timer, open_timer
from lapse.engine import waiting
from lapse.testing.conformance import wait_until
from lapse.testing.servers import RabbitServer, RedisServer
from tests.each_redis import with_each_redis
from tests.timers.databases import DATABASES

SAFETY_LOOK = 3600.0
"""Seconds. With safety looks an hour apart, only an exact sleep or a wake-up can hand out a deadline."""
PATIENCE = 60.0


@pytest.fixture(
    params=[
        "memory",
        *with_each_redis("redis"),
        *with_each_redis("redis+expiry"),
        *DATABASES,
        *with_each_redis("apscheduler+redis"),
        "apscheduler+sqlite",
        "amqp",
    ]
)
def handles(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    redis_of: Callable[[Path], RedisServer],
    sql_url: Callable[[str], str],
    timer_name: str,
) -> Iterator[Callable[[], Timer]]:
    """Return a way to open timers on one store. None of them makes a safety look for an hour."""
    monkeypatch.setattr(waiting, "LOOK_AGAIN", SAFETY_LOOK)
    if request.param == "memory":
        timer = open_timer("memory://", name=timer_name)
        yield lambda: timer
        return
    if request.param == "amqp":
        broker: RabbitServer = request.getfixturevalue("rabbit")
        yield lambda: open_timer(broker.url, name=timer_name)
        return
    kind, binary = request.param if isinstance(request.param, tuple) else (request.param, None)
    _, through, store = kind.rpartition("apscheduler+")
    url = through + (redis_of(binary).url.replace("redis", store, 1) if binary else sql_url(store))
    yield lambda: open_timer(url, name=timer_name)


@contextmanager
def claiming(timer: Timer) -> Iterator[list[Claim]]:
    """Claim in a thread that waits far longer than the test. Yield its claims, complete when the block ends."""
    found: list[Claim] = []
    sleeper = threading.Thread(
        target=lambda: found.extend(timer.claim(wait=timedelta(seconds=SAFETY_LOOK))), daemon=True
    )
    sleeper.start()
    try:
        yield found
    finally:
        sleeper.join(PATIENCE)
        timer.wake()  # a claim that overslept must not outlive its test
        sleeper.join(PATIENCE)


def test_a_claim_sleeps_until_the_next_deadline_and_no_longer(handles: Callable[[], Timer]) -> None:
    """A claim returns with its deadline, although the next safety look is an hour away."""
    with handles() as timer:
        timer.arm([Deadline("1", datetime.now(UTC) + timedelta(milliseconds=300))])
        with claiming(timer) as found:
            wait_until(lambda: found != [])
        assert found[0].late_by >= timedelta(0)


def test_an_earlier_deadline_wakes_a_claim_that_sleeps(handles: Callable[[], Timer]) -> None:
    """A claim sleeps until a far deadline. A deadline that another timer arms for now is handed out at once."""
    with handles() as timer, handles() as other:
        timer.arm([Deadline("far", datetime.now(UTC) + timedelta(hours=2))])
        # During the first claim the listener, if there is one, connects.
        assert timer.claim(wait=timedelta(seconds=1)) == []
        with claiming(timer) as found:
            other.arm([Deadline("near", datetime.now(UTC) + timedelta(milliseconds=300))])
            wait_until(lambda: found != [])
        assert [claim.key for claim in found] == ["near"]


def test_a_lease_that_ends_wakes_a_claim_that_sleeps(handles: Callable[[], Timer]) -> None:
    """The deadline of a claimant that died is handed out when the lease ends."""
    with handles() as timer:
        timer.arm([Deadline("1", datetime.now(UTC))])
        (first,) = timer.claim(wait=timedelta(seconds=SAFETY_LOOK), lease=timedelta(milliseconds=300))
        with claiming(timer) as found:
            wait_until(lambda: found != [])
        assert found[0].claimed_at >= first.leased_until
