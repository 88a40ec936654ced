"""Reminders: once per deadline, only of unpaid orders, found by the timer or by the sweep, never late for a lapse."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import connections
from django.db.models import Q
from django.utils import timezone
from pytest_django import Settings

from lapse.engine.timer import Timer
from lapse.integrations.django import Since
from lapse.integrations.django.checks.setup import check_setup
from lapse.integrations.django.timer_setting import timer_named
from lapse.orders import OrderBatch, Outcome, Result, Service, ServiceOptions, Sweep, reminders_of
from tests.django.wirings.kits import BillOrders, Kit, failures
from tests.django.wirings.models import Bill, Stock

MINUTE = timedelta(minutes=1)
REMIND = 10 * MINUTE

reminded: list[str] = []
"""The keys of the orders that the hook has received."""


class Reminding(BillOrders):
    """Reminds ten minutes before the deadline, and keeps an order a while after it."""

    unpaid = Q(status__in=["awaiting", "closing"])
    closing: ClassVar[Any] = {"status": "closing"}
    grace = MINUTE
    remind: ClassVar[timedelta | None] = REMIND
    reminded: ClassVar[str | None] = "seen_at"
    failing: ClassVar[set[int]] = set()

    def on_remind(self, orders: OrderBatch[Bill]) -> None:
        """Write down of whom it reminds, unless the test lets it fail."""
        if found := self.failing & {order.pk for order in orders}:
            raise LookupError(f"no address of {found}")
        reminded.extend(str(order.pk) for order in orders)


class Quick(Reminding):
    """Lapses at the deadline."""

    grace = timedelta(0)


class NoHook(BillOrders):
    """No hook."""

    remind = REMIND
    reminded = "seen_at"


class NoField(Reminding):
    """No field."""

    reminded = None


class NotNull(Reminding):
    """A field that is never null."""

    reminded = "changed_at"


class TheDeadline(Reminding):
    """The field of the deadline itself."""

    reminded = "pay_by"


class Negative(Reminding):
    """A reminder after the deadline."""

    remind = -REMIND


class Counted(Reminding):
    """A deadline that is not stored."""

    deadline = Since("placed_at", minutes=30)


class KitWithReminders(Kit):
    """The suite of the adopters, with reminders."""

    wiring = Reminding


@pytest.fixture(autouse=True)
def nothing_yet() -> Iterator[None]:
    """Begin with no reminder, and with a hook that works."""
    reminded.clear()
    Reminding.failing.clear()
    yield
    Reminding.failing.clear()


def bill(due_in: timedelta, status: str = "awaiting") -> Bill:
    """Make an order that is due so long from now."""
    return Bill.objects.create(pay_by=timezone.now() + due_in, status=status)


def outcome_of(orders: Reminding, order: Bill) -> Outcome:
    """Try to remind of the order, and return the outcome."""
    return result_of(orders, order).outcome


def result_of(orders: Reminding, order: Bill) -> Result:
    """Try to remind of the order, and return the result."""
    reminders = orders.reminders()
    assert reminders is not None
    return reminders.lapse([str(order.pk)])[str(order.pk)]


def sweep(orders: Reminding) -> dict[Outcome, int]:
    """Sweep once for reminders; return the outcomes."""
    reminders = orders.reminders()
    assert reminders is not None
    return dict(Sweep(reminders, batch=2, hooks=()).once().outcomes)


@pytest.mark.usefixtures("database")
def test_an_order_is_reminded_of_once_per_deadline() -> None:
    """By the database's clock, at the announced deadline less `remind`; an extension is a new deadline."""
    orders, order = Reminding(), bill(REMIND + MINUTE)
    assert order.pay_by is not None
    early = result_of(orders, order)
    assert (early.outcome, early.due_at) == (Outcome.NOT_DUE, order.pay_by - REMIND)
    for minutes in (5, 8):
        Bill.objects.update(pay_by=timezone.now() + minutes * MINUTE)
        assert outcome_of(orders, order) is Outcome.REMINDED
        assert outcome_of(orders, order) is Outcome.NOT_UNPAID
        assert sweep(orders) == {}
        order.refresh_from_db()
        assert order.seen_at == order.pay_by
    assert reminded == [str(order.pk)] * 2
    assert order.status == "awaiting"


@pytest.mark.usefixtures("database")
def test_no_other_order_is_reminded_of_and_the_sweep_pages_through_all() -> None:
    """Paid, cancelled, closing, overdue, within the grace, not due, or without a deadline."""
    due = [bill(minutes * MINUTE) for minutes in (9, 2, 5)]
    for status in ("paid", "cancelled", "closing"):
        bill(5 * MINUTE, status)
    others = [bill(-timedelta(seconds=1)), bill(-2 * MINUTE), bill(REMIND + MINUTE), Bill.objects.create()]
    orders = Reminding()
    assert sweep(orders) == {Outcome.REMINDED: 3}
    assert reminded == [str(due[index].pk) for index in (1, 2, 0)]
    assert Outcome.REMINDED not in {outcome_of(orders, order) for order in others}
    reminders = orders.reminders()
    assert reminders is not None
    assert [one.key for one in reminders.orders.deadlines()] == [str(others[2].pk)]


@pytest.mark.usefixtures("locking")
def test_a_payment_that_is_not_committed_keeps_the_reminder_back() -> None:
    """The row is locked, so nothing is sent, and the order is asked again when it is paid."""
    orders, order = Reminding(), bill(5 * MINUTE)
    paying, go_on = threading.Event(), threading.Event()

    def pay() -> None:
        try:
            with orders.hold(order) as held:
                paying.set()
                go_on.wait(30)
                held.status = "paid"
                held.save()
        finally:
            connections.close_all()

    thread = threading.Thread(target=pay)
    thread.start()
    assert paying.wait(30)
    try:
        assert outcome_of(orders, order) is Outcome.LOCKED
    finally:
        go_on.set()
        thread.join()
    assert outcome_of(orders, order) is Outcome.NOT_UNPAID
    assert reminded == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("database")
def test_an_order_whose_reminder_fails_stops_no_other() -> None:
    """It is not marked, and is reminded of as soon as the hook works."""
    orders, bad, good = Reminding(), bill(4 * MINUTE), bill(5 * MINUTE)
    Reminding.failing.add(bad.pk)
    assert sweep(orders) == {Outcome.REMINDED: 1}
    bad.refresh_from_db()
    assert (reminded, bad.seen_at) == ([str(good.pk)], None)
    Reminding.failing.clear()
    assert outcome_of(orders, bad) is Outcome.REMINDED


@pytest.fixture
def timers(database: str, settings: Settings) -> Iterator[tuple[Timer, Timer]]:
    """Open the timers in memory, of the orders and of the reminders, and empty them."""
    del database
    settings.LAPSE_ORDERS, settings.LAPSE_TIMER = f"{__name__}.Reminding", "memory://"
    main, other = timer_named("orders"), timer_named(reminders_of("orders"))
    assert main is not None
    assert other is not None
    yield main, other
    for opened in (main, other):
        opened.disarm([str(key) for key in range(1000)])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_reminder_is_armed_moved_and_disarmed_with_its_order(timers: tuple[Timer, Timer]) -> None:
    """The second timer has the announced deadline less `remind`, until the order is paid or cancelled."""
    Stock.objects.create(pieces=1)
    orders, timer = Reminding(), timers[1]
    paid, cancelled = bill(30 * MINUTE), bill(40 * MINUTE)
    assert paid.pay_by is not None
    orders.arm(paid, cancelled)
    assert (timer.stats().pending, timers[0].stats().pending) == (2, 2)
    assert abs((timer.stats().next_due or paid.pay_by) - (paid.pay_by - REMIND)) <= timedelta(milliseconds=1)
    until = timezone.now() + 60 * MINUTE
    orders.extend([paid, cancelled], until=until, by="merchant", reason="asked")
    assert abs((timer.stats().next_due or until) - (until - REMIND)) <= timedelta(milliseconds=1)
    with orders.hold(paid) as held:
        held.status = "paid"
        held.save()
    orders.cancel([cancelled], by="buyer", reason="mind")
    assert (timer.stats().pending, timers[0].stats().pending) == (0, 0)


@pytest.mark.usefixtures("database")
def test_an_order_with_less_time_than_that_is_not_reminded_of(settings: Settings) -> None:
    """A buyer who has just ordered needs no reminder. A later deadline has one."""
    settings.LAPSE_TIMER = "memory://"
    orders, order = Reminding(), bill(9 * MINUTE)
    orders.arm(order)
    assert sweep(orders) == {}
    order.refresh_from_db()
    assert order.seen_at == order.pay_by
    orders.extend([order], until=timezone.now() + REMIND + MINUTE, by="merchant", reason="asked")
    assert outcome_of(orders, order) is Outcome.NOT_DUE
    orders.disarm(order)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("with_timer", [True, False])
def test_one_service_lapses_and_reminds(timers: tuple[Timer, Timer], *, with_timer: bool) -> None:
    """What the timer never knew is armed at the start; the sweep needs no timer; a failing hook delays no lapse.

    The order that lapses has no reminder of its own: it has less time left than that, and is marked.
    """
    Stock.objects.create(pieces=1)
    orders = Quick()
    soon, failing, due = bill(REMIND + timedelta(seconds=2)), bill(5 * MINUTE), bill(timedelta(seconds=2))
    Reminding.failing.add(failing.pk)
    Bill.objects.filter(pk=due.pk).update(seen_at=due.pay_by)
    options = ServiceOptions(sweep_alone=timedelta(seconds=0.1))
    reminders = orders.reminders(background=True)
    assert reminders is not None
    opened = [(lambda timer=timer: timer) if with_timer else None for timer in timers]
    shared: dict[str, Any] = {"options": options, "hooks": (), "after_thread": connections.close_all}
    beside = Service(reminders, opened[1], name="orders-reminders", **shared)
    service = Service(orders.port(background=True).lapsing(), opened[0], beside={"lapse-reminders": beside}, **shared)
    thread = threading.Thread(target=service.run)
    thread.start()
    seen: dict[str, bool] = {}
    try:
        end = time.monotonic() + 60
        while len(seen) < 2:
            assert time.monotonic() < end, (reminded, list(Bill.objects.values()))
            now = timezone.now()
            if str(soon.pk) in reminded:
                seen.setdefault("reminded", soon.pay_by is not None and now >= soon.pay_by - REMIND)
            if Bill.objects.get(pk=due.pk).status == "cancelled":
                seen.setdefault("lapsed", due.pay_by is not None and now >= due.pay_by)
            time.sleep(0.02)
    finally:
        service.stop()
        thread.join(30)
    assert not thread.is_alive()
    assert seen == {"reminded": True, "lapsed": True}
    assert reminded == [str(soon.pk)]
    assert Bill.objects.get(pk=soon.pk).status == "awaiting"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("database")
def test_the_suite_of_the_adopters_covers_reminders() -> None:
    """It passes here, and each of its tests fails for a shop whose mark is never another one."""
    names = [name for name in dir(KitWithReminders) if "remind" in name and name.startswith("test_")]
    assert len(names) == 3
    assert failures(KitWithReminders, *names) == {}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Reminding", []),
        ("NoHook", ["on_remind() is missing"]),
        ("NoField", ["`reminded` is missing"]),
        ("NotNull", ["`reminded` is 'changed_at'"]),
        ("TheDeadline", ["`reminded` is 'pay_by'"]),
        ("Negative", ["must be a time before the deadline"]),
        ("Counted", ["needs a deadline that is stored"]),
    ],
)
def test_what_cannot_be_reminded_of_is_refused(settings: Settings, name: str, says: list[str]) -> None:
    """Before the first order."""
    settings.LAPSE_ORDERS = f"{__name__}.{name}"
    found = [message for message in check_setup() if message.id == "lapse.E042"]
    assert len(found) == len(says)
    assert [said for said, message in zip(says, found, strict=True) if said not in message.msg] == []
