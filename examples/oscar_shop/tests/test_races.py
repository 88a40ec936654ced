"""Payers, workers and the checkout at the same moment, on PostgreSQL: the worker is a process of its own."""

import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connections, transaction
from lapse.integrations.django import NotUnpaid, unpaid_orders
from lapse.orders import Outcome
from oscar.apps.order.signals import order_status_changed
from oscar.core.loading import get_class

from oscarshop.paying import pay
from shopping import PLENTY, Order, allocated, assert_books_agree, due_in, in_stock, place, product

EventHandler = get_class("order.processing", "EventHandler")

SHOP = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds after which a test gives up waiting."""

ORDERS, PAYERS, SPREAD = 60, 6, 0.25
"""How many orders fall due at one moment, how many threads pay them, and how many seconds before or after it."""


@contextmanager
def worker(url, log):
    """Run `manage.py lapse_worker` on the database of the tests, with a timer there."""
    environment = {**os.environ, "DATABASE_URL": url, "LAPSE_TIMER": url, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "manage.py", "lapse_worker", "--sweep-every", "1"]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=SHOP, env=environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            wait_until(lambda: "lapsing orders" in log.read_text() or process.poll() is not None)
            yield process
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0, log.read_text()


def wait_until(condition):
    """Look again and again until the condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.02)


@pytest.fixture
def threads():
    """Return a pool of threads that close their connections."""
    with ThreadPoolExecutor(PAYERS + 2) as pool:

        def start(work, *arguments):
            def run():
                try:
                    return work(*arguments)
                finally:
                    connections.close_all()

            return pool.submit(run)

        yield start


class Crowd:
    """Buyers of three products who pay, and who buy more, around one moment."""

    def __init__(self):
        self.items = [product(title) for title in ("tea", "cup", "pot")]
        self._chance = random.Random(1)

    def place(self, count):
        """Place so many orders of two products each, in any sequence."""
        return [
            place({item: self._chance.randint(1, 3) for item in self._chance.sample(self.items, 2)})
            for _ in range(count)
        ]

    def pay(self, orders, moment):
        """Pay each order shortly before or after the moment; return the numbers of those paid and of those refused."""
        paid, refused = set(), set()
        for order in orders:
            time.sleep(max(0.0, moment + self._chance.uniform(-SPREAD, SPREAD) - time.monotonic()))
            try:
                pay(order.number, order.total_incl_tax, f"visa-{order.number}")
                paid.add(order.number)
            except NotUnpaid:
                refused.add(order.number)
        return paid, refused

    def buy(self, moment):
        """Place further orders at the moment and return them."""
        time.sleep(max(0.0, moment - SPREAD - time.monotonic()))
        return self.place(20)


def test_payers_and_workers_at_the_deadline(database_url, threads, settings, tmp_path):
    """No order is paid and cancelled; every payer learns which; allocations and stock add up; no sale fails."""
    settings.LAPSE_TIMER = database_url
    crowd = Crowd()
    placed = crowd.place(ORDERS)
    with worker(database_url, tmp_path / "one.log"), worker(database_url, tmp_path / "two.log"):
        moment = time.monotonic() + 3
        for order in placed:
            due_in(order, moment - time.monotonic())
        unpaid_orders().arm(*placed)
        payers = [threads(crowd.pay, placed[mine::PAYERS], moment) for mine in range(PAYERS)]
        buyers = [threads(crowd.buy, moment) for _ in range(2)]
        results = [payer.result(PATIENCE) for payer in payers]
        bought = [order for buyer in buyers for order in buyer.result(PATIENCE)]
        due = Order.objects.filter(pk__in=[order.pk for order in placed])
        wait_until(lambda: not due.filter(status="Pending").exists())
    assert_books_agree()
    paid, refused = (set().union(*numbers) for numbers in zip(*results, strict=True))
    assert paid == set(due.filter(status="Being processed").values_list("number", flat=True))
    assert refused == set(due.filter(status="Cancelled").values_list("number", flat=True))
    assert paid and refused, "all payers came first, or all workers: that was no race"
    assert Order.objects.filter(status="Pending").count() == len(bought)
    logs = "".join(file.read_text() for file in tmp_path.glob("*.log"))
    assert " ERROR " not in logs, logs
    assert_stock_adds_up(crowd.items, due.filter(status="Being processed"), bought)


def assert_stock_adds_up(items, paid, unpaid):
    """Dispatch what is paid and cancel what is not: the stock has lost what was dispatched, and no piece is held."""
    dispatched = {item.pk: 0 for item in items}
    for order in paid:
        EventHandler().consume_stock_allocations(order)
        for line in order.lines.all():
            dispatched[line.product_id] += line.quantity
    unpaid_orders().cancel(unpaid, by="test", reason="over")
    assert {item.pk: PLENTY - in_stock(item) for item in items} == dispatched
    assert [allocated(item) for item in items] == [0, 0, 0]


@pytest.fixture
def halted():
    """Halt the next change of status before it is committed: `reached` is set there, `go_on` lets it go on."""
    reached, go_on = threading.Event(), threading.Event()

    def receive(**_):
        if not reached.is_set():
            reached.set()
            assert go_on.wait(PATIENCE)

    order_status_changed.connect(receive)
    yield reached, go_on
    go_on.set()
    order_status_changed.disconnect(receive)


@pytest.mark.usefixtures("database_url")
def test_a_payment_that_comes_first_wins(threads, halted):
    """While a payment is under way the order is LOCKED for workers; afterwards it is not unpaid."""
    reached, go_on = halted
    order = due_in(place({product(): 2}), -1)
    payment = threads(pay, order.number, order.total_incl_tax, "visa-1")
    assert reached.wait(PATIENCE)
    during = unpaid_orders().lapse([order.number])[order.number].outcome
    go_on.set()
    payment.result(PATIENCE)
    assert (during, unpaid_orders().lapse([order.number])[order.number].outcome) == (
        Outcome.LOCKED,
        Outcome.NOT_UNPAID,
    )
    assert_books_agree()


@pytest.mark.usefixtures("database_url")
def test_a_lapse_that_comes_first_wins(threads, halted):
    """A payment that arrives while the order lapses waits for the lapse, and is then refused."""
    reached, go_on = halted
    tea = product()
    order = due_in(place({tea: 2}), -1)
    lapse = threads(unpaid_orders().lapse, [order.number])
    assert reached.wait(PATIENCE)
    payment = threads(pay, order.number, order.total_incl_tax, "visa-1")
    wait_until(lambda: waits_for_a_lock() or payment.done())
    assert not payment.done()
    go_on.set()
    assert lapse.result(PATIENCE)[order.number].outcome is Outcome.LAPSED
    with pytest.raises(NotUnpaid):
        payment.result(PATIENCE)
    assert allocated(tea) == 0
    assert_books_agree()


@pytest.mark.usefixtures("database_url")
def test_a_sale_and_a_lapse_do_not_wait_for_each_other_in_a_circle(threads):
    """A sale holds the first product while orders of the second and the first lapse: the sale is completed."""
    first, second = product("tea"), product("cup")
    orders = [due_in(place({item: 1}), -1) for item in (second, first)]
    with transaction.atomic():
        first.stockrecords.get().allocate(1)
        lapse = threads(unpaid_orders().lapse, [order.number for order in orders])
        wait_until(lambda: waits_for_a_lock() or lapse.done())
        assert not lapse.done()
        time.sleep(1.5)  # after PostgreSQL has looked for a deadlock once: the sale would be the one that fails
        second.stockrecords.get().allocate(1)
    assert {result.outcome for result in lapse.result(PATIENCE).values()} == {Outcome.LAPSED}
    assert (allocated(first), allocated(second)) == (1, 1)


def waits_for_a_lock():
    """Return whether a statement waits for a lock that another transaction holds."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
