"""The web server dies just before or just after an order's commit, with a timer in the shop's own database."""

import signal

import pytest

from lapse import Deadline, open_timer
from lapse.testing.servers import PostgresServer
from tests.shop.live_shop import PATIENCE, LiveShop

ORDERS = "SELECT count(*), min(public_id::text) FROM orders_order"


@pytest.fixture
def live(postgres: PostgresServer, seeded: str) -> LiveShop:
    """Return a shop whose timer is in its own database, which is a copy of the one that was set up."""
    return LiveShop(postgres, timer="its own", copied=seeded)


def test_killed_between_the_order_and_its_commit(live: LiveShop) -> None:
    """Neither the order nor its deadline exists."""
    assert live.start("-m", "tests.shop.place_and_die", "before").wait(PATIENCE) == -signal.SIGKILL
    assert live.ask(ORDERS) == (0, None)
    with open_timer(live.url, name="orders") as timer:
        stats = timer.stats()
        assert (stats.pending, stats.claimed, stats.buried) == (0, 0, 0)


def test_killed_right_after_the_commit(live: LiveShop) -> None:
    """The order and its deadline exist: the same key, and the same time to the millisecond."""
    assert live.start("-m", "tests.shop.place_and_die", "after").wait(PATIENCE) == -signal.SIGKILL
    count, order = live.ask(ORDERS)
    assert count == 1
    with open_timer(live.url, name="orders") as timer:
        stats = timer.stats()
        (pay_by,) = live.ask("SELECT pay_by FROM orders_order")
        assert stats.pending == 1
        assert timer.claim() == []
        due_at = stats.next_due
        assert due_at is not None
        assert 0 <= (due_at - pay_by).total_seconds() <= 0.001
        timer.arm([Deadline(order, due_at)], only_unknown=True)
        assert timer.stats().pending == 1  # it was known by that very key
