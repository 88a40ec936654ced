"""The worker is killed while many orders fall due, and the books are exactly right afterwards."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from lapse.testing.servers import PostgresServer, RedisServer
from tests.shop.live_shop import PATIENCE, LiveShop

COUNTS = """
SELECT count(*) FILTER (WHERE status = 'cancelled' AND cancel_reason = 'expired'),
       count(*) FILTER (WHERE status <> 'cancelled'),
       count(*) FILTER (WHERE cancelled_at < pay_by)
FROM orders_order
"""


@pytest.fixture(
    params=["redis", *(pytest.param(timer, marks=pytest.mark.long) for timer in ("redis+expiry", "its own"))]
)
def live(request: pytest.FixtureRequest, postgres: PostgresServer, seeded: str) -> Iterator[LiveShop]:
    """Return a shop on each mechanism that it is run with."""
    with RedisServer() as redis:
        is_on_redis = request.param.startswith("redis")
        timer = redis.url.replace("redis", request.param, 1) if is_on_redis else request.param
        yield LiveShop(postgres, timer, copied=seeded)


@pytest.mark.parametrize(("total", "seconds"), [(160, 4), pytest.param(1000, 10, marks=pytest.mark.long)])
def test_a_killed_worker_costs_nothing(live: LiveShop, total: int, seconds: int) -> None:
    """Of many orders due within seconds, with a SIGKILL in the middle, each lapses once and every figure is right."""
    placing = live.start("-m", "tests.shop.place_many", str(total), str(seconds))
    worker = live.worker()
    try:
        wait_until(lambda: live.ask(COUNTS)[0] > total / 10)
        worker.kill()
        worker.wait()
        lapsed_then = live.ask(COUNTS)[0]
        assert lapsed_then < total, "the worker was killed too late for this test to say anything"
        worker = live.worker()
        assert placing.wait(PATIENCE) == 0
        wait_until(lambda: live.ask(COUNTS)[0] == total)
    finally:
        worker.terminate()
        assert worker.wait(PATIENCE) == 0
    expired, others, early = live.ask(COUNTS)
    assert (expired, others, early) == (total, 0, 0)
    trail = "SELECT count(*), count(DISTINCT order_id) FROM orders_auditentry WHERE what = 'cancelled'"
    assert live.ask(trail) == (total, total)
    report = json.loads(live.manage("audit", "--json", "--grace", "0"))
    assert report["ok"] is True
    assert report["drift"] == []
    assert live.ask("SELECT sum(held) FROM catalogue_product") == (0,)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, patiently."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)  # each look opens a connection, and takes from the worker what it needs
