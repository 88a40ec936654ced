"""SQLite has one lock for all rows. An order that meets it is tried again soon, without a line of log (case A11)."""

import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from django.db import OperationalError, connections, transaction
from django.db.models import F, Q
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from lapse import TryLater
from lapse.engine.backoff import Backoff
from lapse.engine.events import LEVELS, Event
from lapse.integrations.django import NotUnpaid, UnpaidOrders
from lapse.orders import Outcome, Service, ServiceOptions, Sweep
from tests.django.adopter.threads import PATIENCE, in_thread
from tests.django.databases import ALIAS, chosen
from tests.django.wirings.models import Bill, Stock

SOON = {"timeout": 0.05}
"""How long a statement waits for the lock, in seconds."""


class Bills(UnpaidOrders[Bill]):
    """Orders of one piece each."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: Sequence[Bill]) -> None:
        """Return the pieces."""
        Stock.objects.update(pieces=F("pieces") + len(orders))


@pytest.fixture(params=["IMMEDIATE", None], autouse=True)
def sqlite(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker, settings: Settings
) -> Iterator[None]:
    """Have a SQLite database with each way to begin a transaction. A statement waits for the lock for a moment only."""
    settings.LAPSE_TIMER = None
    mode = {"transaction_mode": request.param} if request.param else {}
    with django_db_blocker.unblock(), chosen("sqlite", request, tmp_path, OPTIONS=SOON | mode):
        Stock.objects.create()
        yield


def overdue() -> Bill:
    """Place a bill that is overdue."""
    return Bill.objects.create(pay_by=timezone.now() - timedelta(minutes=1))


def test_a11_a_lock_is_a_passing_condition() -> None:
    """The orders are LOCKED, no line is logged, and a person's cancel is to be tried later."""
    bill = overdue()
    key = str(bill.pk)
    locked, done = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic(using=ALIAS):
            Stock.objects.update(pieces=F("pieces"))
            locked.set()
            assert done.wait(PATIENCE)

    writer = in_thread(write)
    assert locked.wait(PATIENCE)
    orders = Bills()
    events: list[Event] = []
    sweep = Sweep(orders.port().lapsing(), hooks=[events.append])
    try:
        assert orders.lapse([key, "999"])[key].outcome is Outcome.LOCKED
        assert orders.lapse_overdue()[key].outcome is Outcome.LOCKED
        assert [order.status for order in orders.fresh(Bill.objects.all())] == ["awaiting"]
        swept = sweep.once()
        assert (swept.outcomes, swept.failed) == ({Outcome.LOCKED: 1}, [])
        with pytest.raises(TryLater, match="locked by another connection"):
            orders.cancel([bill], by="clerk", reason="merchant")
    finally:
        done.set()
    writer.result(PATIENCE)
    assert all(event.level <= logging.INFO for event in events)
    assert sweep.once().lapsed == 1


@pytest.mark.long
def test_a11_two_workers_and_two_writers_add_up_and_are_quiet() -> None:
    """For four seconds. It was 1,100 to 3,000 lines of log; now it is about one for each sweep that found an order."""
    stop = threading.Event()
    lines: list[Event] = []

    def write() -> int:
        paid = 0
        while not stop.is_set():
            try:
                with transaction.atomic(using=ALIAS):
                    Stock.objects.update(pieces=F("pieces") - 1)
                    bill = Bill.objects.create(pay_by=timezone.now() + timedelta(milliseconds=20))
                with Bills().hold(bill) as held:
                    held.status = "paid"
                    held.save()
                paid += 1
            except (OperationalError, NotUnpaid):  # the shop's own to retry
                continue
        return paid

    options = ServiceOptions(sweep_alone=timedelta(milliseconds=50), grace=timedelta(0))
    services = [
        Service(
            Bills().port(background=True).lapsing(),
            None,
            options=options,
            hooks=[lines.append],
            after_thread=connections.close_all,
        )
        for _ in range(2)
    ]
    running = [in_thread(service.run) for service in services]
    writers = [in_thread(write) for _ in range(2)]
    stop.wait(4)
    stop.set()
    paid = sum(writer.result(PATIENCE) for writer in writers)
    for service in services:
        service.stop()
    for each in running:
        each.result(PATIENCE)
    lapsing = Bills().port().lapsing()
    Sweep(lapsing, backoff=Backoff(), hooks=()).once()
    stock = Stock.objects.get().pieces
    assert -stock == Bill.objects.exclude(status="cancelled").count() >= paid
    assert sum(LEVELS.get(event.kind, logging.INFO) >= logging.INFO for event in lines) < 300
    assert sum(event.level > logging.INFO for event in lines) < 60
