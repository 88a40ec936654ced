"""The worker is killed while attempts to pay are open, at each step: another worker finishes every order, once."""

import json
import signal

import pytest

from lapse import open_timer
from lapse.testing.servers import PostgresServer
from tests.shop.live_shop import PATIENCE, LiveShop
from tests.shop.test_crash import wait_until

ORDERS = 3
STATES = "SELECT count(*) FILTER (WHERE status = 'cancelled'), count(*) FROM orders_order"
TRAIL = "SELECT count(*), count(DISTINCT order_id) FROM orders_auditentry WHERE what = 'cancelled'"
OPEN = "SELECT count(*) FROM payments_paymentattempt WHERE state <> 'closed'"


@pytest.fixture(scope="module")
def seeded(postgres: PostgresServer) -> str:
    """Set up a shop's database, and return its name."""
    shop = LiveShop(postgres, timer="its own")
    shop.manage("seed", "--migrate")
    return shop.database


@pytest.mark.parametrize(
    "step", ["called", *(pytest.param(step, marks=pytest.mark.long) for step in ("begun", "answered", "finished"))]
)
def test_killed_with_an_attempt_open(postgres: PostgresServer, seeded: str, step: str) -> None:
    """The books are right, every attempt is closed, and the timer knows nothing that is left to do."""
    live = LiveShop(postgres, timer="its own", copied=seeded)
    assert live.start("-m", "tests.shop.dying_worker", "place", str(ORDERS)).wait(PATIENCE) == 0
    assert live.start("-m", "tests.shop.dying_worker", step).wait(PATIENCE) == -signal.SIGKILL
    cancelled, total = live.ask(STATES)
    assert total == ORDERS
    assert (cancelled > 0) is (step == "finished"), "the worker died at another step than the test says"
    worker = live.worker()
    try:
        wait_until(lambda: live.ask(STATES) == (ORDERS, ORDERS))
        with open_timer(live.url, name="orders") as timer:
            wait_until(lambda: (timer.stats().pending, timer.stats().claimed) == (0, 0))
            assert timer.stats().buried == 0
    finally:
        worker.terminate()
        assert worker.wait(PATIENCE) == 0
    assert live.ask(TRAIL) == (ORDERS, ORDERS)
    assert live.ask(OPEN) == (0,)
    report = json.loads(live.manage("audit", "--json", "--grace", "0"))
    assert (report["ok"], report["drift"]) == (True, [])
    assert live.ask("SELECT sum(held) FROM catalogue_product") == (0,)
