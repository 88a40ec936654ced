"""M7: a gateway that hangs delays its own orders only: not the worker's, not a sale, not a page."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import ClassVar

import pytest
from django.db import connection, connections
from django.db.models import Q
from pytest_django import Settings

from lapse import Deadline, Event, Kind, Timer, open_timer
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.orders import ClosingGateway, Outcome, Service, ServiceOptions, Verdict
from lapse.testing.servers import PostgresServer
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Order, PayAttempt, Product
from tests.django.adopter.placing import begin_to_pay, place, status, stock
from tests.django.adopter.threads import PATIENCE, in_thread, wait_until
from tests.orders.gateways import SlowTill, hanging

pytestmark = pytest.mark.django_db(transaction=True)

HANGING = 45
OFTEN = timedelta(milliseconds=200)


class Shop(AdopterOrders):
    """Orders that are paid at the till."""

    gateways: ClassVar[dict[str, ClosingGateway]] = {}


@pytest.fixture
def till(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowTill]:
    """Open a till that hangs until the end of the test, or until `release`."""
    with hanging() as opened:
        monkeypatch.setattr(Shop, "gateways", {"till": opened})
        yield opened
    wait_until(no_thread_calls)  # before the tables are emptied


def no_thread_calls() -> bool:
    """Return whether no thread calls the till, or finishes an order after a call."""
    return not [thread for thread in threading.enumerate() if thread.name == "lapse-gateway-till"]


@pytest.fixture(params=["memory", "postgresql"])
def opened(request: pytest.FixtureRequest, postgres: PostgresServer) -> Timer:
    """Open a timer in memory, or in the orders' own database. The service closes it."""
    url = "memory://" if request.param == "memory" else postgres.url_of(connection.settings_dict["NAME"])
    return open_timer(url, name="orders")


class Recorder:
    """A hook that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, /) -> None:
        """Keep the event."""
        self.events.append(event)

    def of(self, kind: Kind) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.events if event.kind is kind]


@contextmanager
def serving(timer: Timer | None, recorder: Recorder, options: ServiceOptions | None = None) -> "Iterator[Running]":
    """Run a service in a thread; stop it at the end unless the test has."""
    service = Service(
        Shop().port(background=True).lapsing(),
        None if timer is None else lambda: timer,
        options=options or ServiceOptions(sweep_beside_timer=OFTEN, grace=timedelta(0), max_attempts=2),
        hooks=[recorder],
        after_thread=connections.close_all,
    )
    running = Running(service, in_thread(service.run))
    try:
        yield running
    finally:
        if not running.ended.done():
            service.stop()
        running.ended.result(PATIENCE)


@dataclass(frozen=True)
class Running:
    """A service that runs in a thread."""

    service: Service
    ended: Future[None]


def are_cancelled(orders: list[Order]) -> bool:
    """Return whether all these orders are cancelled."""
    return {status(order) for order in orders} == {"cancelled"}


def arm(timer: Timer, orders: list[Order]) -> None:
    """Arm the orders' deadlines."""
    timer.arm([Deadline(str(order.pk), order.pay_by) for order in orders if order.pay_by is not None])


def test_m7_orders_without_an_attempt_lapse_while_45_orders_wait_for_the_gateway(till: SlowTill, opened: Timer) -> None:
    """All others have lapsed, and again others that became due later, while the gateway still hangs. Then the 45 do."""
    slow = place(HANGING)
    for order in slow:
        begin_to_pay(order)
    recorder = Recorder()
    arm(opened, slow)
    with serving(opened, recorder):
        wait_until(lambda: len(till.called) == 16)  # every thread of this gateway hangs
        for _ in range(3):
            others = place(20)
            arm(opened, others)
            wait_until(partial(are_cancelled, others))
        assert till.hangs
        assert {status(order) for order in slow} == {"closing"}
        assert opened.stats().claimed == 0  # no lease waits for a gateway
        till.release()
        wait_until(lambda: not Order.objects.exclude(status="cancelled").exists())
        wait_until(lambda: opened.stats().pending == 0)  # disarmed when they were finished, not fired once more
        assert opened.stats().buried == 0
    finished = [event for event in recorder.of(Kind.HANDLED) if event.reason]
    assert sum(len(event.lateness) for event in finished) + _swept_later(recorder) == HANGING
    assert stock(slow[0]) == HANGING


def _swept_later(recorder: Recorder) -> int:
    """Return how many orders the sweep had begun and were finished in the background."""
    return sum(event.count for event in recorder.of(Kind.SWEPT) if event.reason == "after their gateways had answered")


def test_m7_the_gateway_is_away_is_never_buried(till: SlowTill, opened: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is two attempts, and the order is handed out many times: it is never counted."""
    monkeypatch.setattr("lapse.orders.closing.MARGIN", timedelta(seconds=-4.95))  # a retry after 50 ms
    (order,) = place()
    begin_to_pay(order)
    arm(opened, [order])
    recorder = Recorder()
    options = ServiceOptions(grace=timedelta(hours=1), max_attempts=2)
    with serving(opened, recorder, options):
        wait_until(lambda: len(recorder.of(Kind.RELEASED)) >= 6)
        assert (opened.stats().buried, recorder.of(Kind.BURIED)) == (0, [])
        assert till.called == [PayAttempt.objects.get().number]  # one call, however often it is handed out
        till.release()
        wait_until(lambda: status(order) == "cancelled")


def test_m7_a_step_three_that_raises_is_buried_in_the_end(
    till: SlowTill, opened: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is the order's own fault, although it happens outside the worker's thread."""

    def fail(*_: object) -> bool:
        raise LookupError("no such column")

    monkeypatch.setattr("lapse.orders.closing.MARGIN", timedelta(seconds=-4.95))
    monkeypatch.setattr(Shop, "on_ruling", fail)
    till.release()
    (order,) = place()
    begin_to_pay(order)
    arm(opened, [order])
    recorder = Recorder()
    options = ServiceOptions(grace=timedelta(hours=1), max_attempts=2)
    with serving(opened, recorder, options):
        wait_until(lambda: recorder.of(Kind.BURIED) != [])
    (buried,) = recorder.of(Kind.BURIED)
    assert (buried.keys, buried.reason) == ((str(order.pk),), "LookupError: no such column")
    assert all(isinstance(event.error, LookupError) for event in recorder.of(Kind.FAILED))


def test_m7_a_sweep_alone_does_not_wait_for_the_gateway(till: SlowTill) -> None:
    """Without a timer: the next sweep lapses what became due, while the gateway still hangs."""
    slow = place(HANGING)
    for order in slow:
        begin_to_pay(order)
    with serving(None, Recorder(), ServiceOptions(sweep_alone=OFTEN)):
        wait_until(lambda: len(till.called) == 16)
        (other,) = place()
        wait_until(lambda: status(other) == "cancelled")
        assert till.hangs
        till.release()
        wait_until(lambda: not Order.objects.exclude(status="cancelled").exists())


def test_a_stop_gives_calls_the_drain_and_then_leaves_the_order_closing(till: SlowTill, opened: Timer) -> None:
    """The service returns while the gateway still hangs; another process finishes the order."""
    (order,) = place()
    begin_to_pay(order)
    arm(opened, [order])
    with serving(opened, Recorder(), ServiceOptions(drain=OFTEN)):
        wait_until(lambda: till.called != [])
    assert till.hangs
    assert status(order) == "closing"
    assert [found.key for found in Shop().port().overdue(10)] == [str(order.pk)]


def test_a_stop_waits_for_a_call_that_ends_within_the_drain(till: SlowTill, opened: Timer) -> None:
    """The gateway answers after the signal: the order is finished before `run` returns, and disarmed."""
    (order,) = place()
    begin_to_pay(order)
    arm(opened, [order])
    recorder = Recorder()
    with serving(opened, recorder, ServiceOptions(grace=timedelta(hours=1))) as running:
        wait_until(lambda: till.called != [])
        running.service.stop()
        assert not running.ended.done()  # it waits for the gateway
        till.release()
        running.ended.result(PATIENCE)
    assert status(order) == "cancelled"
    # The timer may also have a deadline that an earlier test left there.
    assert [event.keys for event in recorder.of(Kind.HANDLED)].count((str(order.pk),)) == 1


def test_m7_a_sale_behind_40_holds_waits_once_and_briefly(till: SlowTill) -> None:
    """All holds are undecided when it returns, while the gateway hangs. The second sale does not wait at all."""
    product = Product.objects.create(stock=40)
    for order in place(40, product=product):
        begin_to_pay(order)
    shop = Shop()
    behind = Q(lines__product=product)
    assert {result.outcome for result in shop.lapse_overdue(behind).values()} == {Outcome.UNANSWERED}
    assert till.hangs
    begun = SYSTEM_CLOCK.monotonic()
    assert shop.lapse_overdue(behind) == {}
    assert shop.lapse([str(pk) for pk in Order.objects.values_list("pk", flat=True)]).keys()
    assert list(shop.fresh(Order.objects.all()))
    again = SYSTEM_CLOCK.monotonic() - begun
    begun = SYSTEM_CLOCK.monotonic()
    Shop().lapse_overdue(behind)  # another process, which has to wait once as well
    assert again < SYSTEM_CLOCK.monotonic() - begun
    till.release()
    wait_until(lambda: not Order.objects.exclude(status="cancelled").exists())


def test_m7_a_page_that_is_read_again_and_again_calls_the_gateway_once(till: SlowTill) -> None:
    """The first look may wait briefly; no further look makes a call while the first call is under way."""
    (order,) = place()
    number = begin_to_pay(order).number
    shop = Shop()
    for _ in range(5):
        assert [each.status for each in shop.fresh(Order.objects.all())] == ["closing"]
        result = shop.lapse([str(order.pk)], wait=timedelta(seconds=PATIENCE))[str(order.pk)]
        assert result.outcome is Outcome.UNANSWERED
    assert till.called == [number]
    till.verdicts[number] = Verdict.PAID
    till.release()
    wait_until(lambda: status(order) == "paid")


def test_connections_of_the_gateways_threads_are_closed(till: SlowTill) -> None:
    """Step three ran in them, and the test's database is dropped at the end."""
    shop = Shop()
    for order in place(20):
        begin_to_pay(order)
    shop.port(background=True).lapsing().lapse(
        [str(pk) for pk in Order.objects.values_list("pk", flat=True)], wait=timedelta(0)
    )
    till.release()
    wait_until(lambda: not Order.objects.exclude(status="cancelled").exists())
    wait_until(no_thread_calls)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert cursor.fetchone()[0] == 1


def test_the_settings_object_is_one_per_process(settings: Settings, till: SlowTill) -> None:
    """Two calls by `unpaid_orders()` share the threads and what is under way."""
    from lapse.integrations.django import unpaid_orders  # noqa: PLC0415 - after the setting

    settings.LAPSE_ORDERS = "tests.django.test_gateway_hangs.Shop"
    (order,) = place()
    begin_to_pay(order)
    for _ in range(3):
        unpaid_orders().lapse([str(order.pk)], wait=timedelta(milliseconds=10))
    assert len(till.called) == 1
