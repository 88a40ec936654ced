"""The worker is killed while many orders fall due, and the books are exactly right afterwards."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lapse.testing.servers import PostgresServer, RedisServer

CHECKOUT = Path(__file__).resolve().parents[2]
DUE_WITHIN = 10.0
"""Seconds over which the orders fall due."""
WINDOW = 15
PATIENCE = 180.0

COUNTS = """
SELECT count(*) FILTER (WHERE status = 'cancelled' AND cancel_reason = 'expired'),
       count(*) FILTER (WHERE status <> 'cancelled'),
       count(*) FILTER (WHERE cancelled_at < pay_by)
FROM orders_order
"""


class LiveShop:
    """The shop's programs on real servers, as `make run` starts them, under the test's control.

    `timer` is a URL, or "its own": the shop's own database. `copied` is the database that the shop's begins as.
    """

    def __init__(self, postgres: PostgresServer, timer: str, *, copied: str = "template1") -> None:
        self.database = f"crash_{time.monotonic_ns()}"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self.database}" TEMPLATE "{copied}"')
        self.url = f"postgresql://postgres@/{self.database}?host={postgres.sockets}"
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "DATABASE_URL": self.url,
            "LAPSE_TIMER": self.url if timer == "its own" else timer,
            "LAPSE_PAYMENT_WINDOW": str(WINDOW),
            "SECRET_KEY": "for tests only",
            "LOG_LEVEL": "WARNING",
        }

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `python …` in the checkout."""
        return subprocess.Popen([sys.executable, *words], cwd=CHECKOUT, env=self._environment)

    def manage(self, *words: str) -> str:
        """Run a management command and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "shop.manage", *words],
            cwd=CHECKOUT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker; the sweep is so rare that the timer does the work."""
        return self.start("-m", "shop.manage", "lapse_worker", "--sweep-every", "600", "--lease", "3")

    def ask(self, query: str) -> tuple[Any, ...]:
        """Return one row."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row


@pytest.fixture(
    params=["redis", *(pytest.param(timer, marks=pytest.mark.long) for timer in ("redis+expiry", "its own"))]
)
def live(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[LiveShop]:
    """Set up a shop on each mechanism that it is run with."""
    with RedisServer() as redis:
        is_on_redis = request.param.startswith("redis")
        shop = LiveShop(postgres, redis.url.replace("redis", request.param, 1) if is_on_redis else request.param)
        shop.manage("seed", "--migrate")
        yield shop


@pytest.mark.parametrize("total", [400, pytest.param(1000, marks=pytest.mark.long)])
def test_a_killed_worker_costs_nothing(live: LiveShop, total: int) -> None:
    """Of many orders due within 10 s, with a SIGKILL in the middle, each lapses once and every figure is right."""
    placing = live.start("-m", "tests.shop.place_many", str(total), str(DUE_WITHIN))
    worker = live.worker()
    try:
        assert placing.wait(PATIENCE) == 0
        wait_until(lambda: live.ask(COUNTS)[0] > total / 10)
        worker.kill()
        worker.wait()
        lapsed_then = live.ask(COUNTS)[0]
        assert lapsed_then < total, "the worker was killed too late for this test to say anything"
        worker = live.worker()
        wait_until(lambda: live.ask(COUNTS)[0] == total)
    finally:
        worker.terminate()
        assert worker.wait(PATIENCE) == 0
    expired, others, early = live.ask(COUNTS)
    assert (expired, others, early) == (total, 0, 0)
    trail = "SELECT count(*), count(DISTINCT order_id) FROM orders_auditentry WHERE what = 'cancelled: expired'"
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
