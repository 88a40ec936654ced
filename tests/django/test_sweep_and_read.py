"""The sweep and lapsing on read, on PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from lapse.orders import Outcome, Service, ServiceOptions, Sweep
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Order
from tests.django.adopter.placing import NOT_YET, place, status, stock
from tests.django.adopter.threads import PATIENCE, in_thread, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_sweep_finds_what_was_never_armed_and_nothing_else(orders: AdopterOrders) -> None:
    """Overdue orders lapse, in more batches than one; the others stay."""
    overdue, waiting = place(25), place(3, due=NOT_YET)
    swept = Sweep(orders.port(background=True).lapsing(), batch=10).once()
    assert (swept.lapsed, swept.failed) == (25, [])
    assert {status(order) for order in overdue} == {"cancelled"}
    assert {status(order) for order in waiting} == {"awaiting"}
    assert (stock(overdue[0]), stock(waiting[0])) == (25, 0)


def test_poison_does_not_stop_the_sweep(orders: AdopterOrders) -> None:
    """The oldest order can never be lapsed: all the others are, in the same sweep, and the next one still works."""
    poison, *others = place(20)

    def fail(rows: Sequence[Order]) -> None:
        if any(row.pk == poison.pk for row in rows):
            raise RuntimeError("poison")

    orders.watch = fail
    sweep = Sweep(orders.port(background=True).lapsing(), batch=4)
    swept = sweep.once()
    assert (swept.lapsed, swept.failed) == (19, [str(poison.pk)])
    assert (status(poison), stock(poison)) == ("awaiting", 19)
    place(3)
    assert sweep.once().lapsed == 3
    assert {status(order) for order in others} == {"cancelled"}


def test_the_sweep_lets_the_timer_go_first(orders: AdopterOrders) -> None:
    """Within the grace an order is left alone."""
    place(due=timedelta(seconds=-5))
    lapsing = orders.port(background=True).lapsing()
    assert Sweep(lapsing, grace=timedelta(minutes=1)).once().lapsed == 0
    assert Sweep(lapsing, grace=timedelta(seconds=1)).once().lapsed == 1


def test_the_sweep_goes_on_in_its_thread(orders: AdopterOrders) -> None:
    """It finds orders that become overdue while it runs, never early, and ends when it is stopped."""
    options = ServiceOptions(sweep_alone=timedelta(milliseconds=100), batch=10)
    service = Service(
        orders.port(background=True).lapsing(), None, options=options, hooks=(), after_thread=connections.close_all
    )
    running = in_thread(service.run)
    (order,) = place(due=timedelta(milliseconds=500))
    wait_until(lambda: status(order) == "cancelled")
    service.stop()
    running.result(PATIENCE)
    changed = Order.objects.get()
    assert changed.pay_by is not None
    assert changed.cancelled_at is not None
    assert changed.cancelled_at >= changed.pay_by


def test_paging_visits_every_order_once(orders: AdopterOrders) -> None:
    """Pages follow each other by deadline and key, also where deadlines are equal."""
    placed = place(7)
    Order.objects.filter(pk__in=[order.pk for order in placed[:4]]).update(pay_by=placed[0].pay_by)
    seen: list[str] = []
    after = None
    while page := orders.port().overdue(2, after=after):
        seen += [found.key for found in page]
        after = page[-1]
    assert seen == [str(order.pk) for order in placed]


def test_a_list_that_is_read_shows_no_overdue_order_as_payable(orders: AdopterOrders) -> None:
    """Also a page of it, which moves up when orders leave it."""
    place(30)
    waiting = place(5, due=NOT_YET)
    page = orders.fresh(Order.objects.filter(status="awaiting").order_by("pay_by")[:10])
    assert [order.pk for order in page] == [order.pk for order in waiting]
    assert Order.objects.filter(status="cancelled").count() == 30


def test_reading_lapses_only_what_it_reads(orders: AdopterOrders) -> None:
    """Another buyer's overdue order is not this reader's work; nothing overdue costs one query."""
    mine, other = place(2)
    read = orders.fresh(Order.objects.filter(pk=mine.pk))
    assert [order.status for order in read] == ["cancelled"]
    assert status(other) == "awaiting"
    with CaptureQueriesContext(connection) as queries:
        orders.fresh(Order.objects.filter(pk=mine.pk))
    assert len(queries) == 1


def test_poison_does_not_keep_a_buyer_from_the_list(orders: AdopterOrders) -> None:
    """The order that cannot be lapsed is shown as it is, the others in their new state."""
    poison, *_ = place(5)

    def fail(rows: Sequence[Order]) -> None:
        if any(row.pk == poison.pk for row in rows):
            raise RuntimeError("poison")

    orders.watch = fail
    read = orders.fresh(Order.objects.order_by("pk"))
    assert [order.status for order in read] == ["awaiting"] + ["cancelled"] * 4
    assert {result.outcome for result in orders.lapse_overdue().values()} == set[Outcome]()
