"""The shop's reminders: announced once, some minutes before the deadline, and written into the audit trail."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from pytest_django import Settings

from lapse import Event, Kind
from lapse.integrations.django import unpaid_orders
from lapse.orders import Outcome, Sweep, reminders_of
from lapse.testing.servers import PostgresServer
from shop.catalogue.models import Product
from shop.console.heartbeat import Heartbeat
from shop.lapsing import ShopOrders
from shop.orders.models import AuditEntry, Order, Reason
from shop.orders.transitions import cancel
from tests.shop.live_shop import LiveShop
from tests.shop.rehearsal import assert_no_drift, order_of

REMIND = timedelta(minutes=5)


@pytest.fixture
def reminding(transactional_db: None, shop: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Remind of orders five minutes before their deadline; yield the types of messages that were announced."""
    del transactional_db, shop
    monkeypatch.setattr(ShopOrders, "remind", REMIND)
    announced: list[str] = []
    monkeypatch.setattr(
        "shop.lapsing.announce", lambda what, orders, **_: announced.extend(f"{what} {order.pk}" for order in orders)
    )
    yield announced
    assert_no_drift()


def sweep() -> Counter[Outcome]:
    """Remind of what is due, as a worker does."""
    reminders = unpaid_orders().reminders()
    assert reminders is not None
    return Sweep(reminders, hooks=()).once().outcomes


def test_a_buyer_is_reminded_once_and_only_of_an_unpaid_order(buyer: User, cup: Product, reminding: list[str]) -> None:
    """The order stays as it is; a cancelled one, and one that has time left, are left alone."""
    due, cancelled, later = (order_of(buyer, cup) for _ in range(3))
    Order.objects.exclude(pk=later.pk).update(pay_by=Now() + timedelta(minutes=4))
    cancel(cancelled.pk, reason=Reason.BUYER, who=f"buyer {buyer.pk}")
    reminding.clear()
    assert sweep() == {Outcome.REMINDED: 1}
    assert sweep() == {}
    assert reminding == [f"expiring {due.pk}"]
    order = Order.objects.get(pk=due.pk)
    assert (order.status, order.reminded_of) == ("awaiting_payment", order.pay_by)
    (entry,) = AuditEntry.objects.filter(what="reminded")
    assert (entry.order_id, entry.actor) == (due.pk, "timer")


def test_the_heartbeat_counts_no_reminders() -> None:
    """A reminder is no cancelled order, and the end of the reminders is not the end of the worker."""
    heartbeat = Heartbeat()
    for kind in (Kind.STARTED, Kind.HANDLED, Kind.STOPPED):
        heartbeat(Event(kind=kind, timer=reminders_of("orders"), count=1))
    assert (heartbeat._handled, heartbeat._thread, heartbeat._ending.is_set()) == (0, None, False)


@pytest.mark.long
def test_the_worker_reminds_by_the_second_timer(
    postgres: PostgresServer, seeded: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two seconds after the order was placed, long before the sweep would come."""
    del tmp_path
    monkeypatch.setenv("LAPSE_REMIND", "6")
    live = LiveShop(postgres, timer="its own", copied=seeded)
    worker = live.worker()
    try:
        assert live.start("-m", "tests.shop.place_and_die", "after").wait(60) != 1
        end = time.monotonic() + 60
        with psycopg.connect(live.url, autocommit=True) as connection:
            query = "SELECT a.at, o.pay_by FROM orders_auditentry a JOIN orders_order o ON o.id = a.order_id"
            while not (found := connection.execute(f"{query} WHERE a.what = 'reminded'").fetchall()):
                assert time.monotonic() < end
                time.sleep(0.1)
        ((at, pay_by),) = found
        assert timedelta(0) < pay_by - at <= timedelta(seconds=6)
    finally:
        worker.terminate()
        worker.wait(30)
