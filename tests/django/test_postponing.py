"""`postpone`: orders that the shop's own rules keep, with a worker, a sweep and reads (case B5)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from django.db import connections
from django.db.models import Q
from django.utils import timezone

from lapse import open_timer
from lapse.engine.backoff import Backoff
from lapse.integrations.django import UnpaidOrders
from lapse.orders import Outcome, Result, Service, ServiceOptions, Sweep
from lapse.orders.cooldown import POSTPONED, Cooldown
from lapse.testing.clock import ManualClock
from tests.django.adopter.threads import PATIENCE, in_thread, wait_until
from tests.django.wirings.models import Bill

Rule = Callable[[Sequence[Bill]], Mapping[Any, Any]]


class Postponing(UnpaidOrders[Bill]):
    """`asked` are the orders that the rule was asked about, one entry for each time."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.asked: list[int] = []

    def postpone(self, orders: Sequence[Bill]) -> Mapping[Bill, datetime | None]:
        """Ask the rule."""
        self.asked += [order.pk for order in orders]
        return self.rule(orders)

    def on_lapse(self, orders: Sequence[Bill]) -> None:
        """Keep no stock."""


def overdue(count: int = 1) -> list[Bill]:
    """Place bills that are overdue."""
    return [Bill.objects.create(pay_by=timezone.now() - timedelta(minutes=1)) for _ in range(count)]


def statuses(bills: Sequence[Bill]) -> list[str]:
    """Return what became of each."""
    return [Bill.objects.get(pk=bill.pk).status for bill in bills]


@pytest.mark.usefixtures("database")
def test_b5_a_worker_and_a_sweep_wait_until_the_time_comes() -> None:
    """Neither asks again and again; the order lapses once the time has passed."""
    (bill,) = overdue()
    until = timezone.now() + timedelta(seconds=2)
    orders = Postponing(lambda bills: dict.fromkeys(bills, until))
    timer = open_timer("memory://", name="postponing")
    timer.arm(list(orders.port().deadlines()))
    options = ServiceOptions(sweep_beside_timer=timedelta(milliseconds=50), grace=timedelta(0))
    service = Service(
        orders.port(background=True).lapsing(),
        lambda: timer,
        options=options,
        hooks=(),
        after_thread=connections.close_all,
    )
    running = in_thread(service.run)
    wait_until(lambda: statuses([bill]) == ["cancelled"])
    assert timezone.now() >= until
    service.stop()
    running.result(PATIENCE)
    assert len(orders.asked) <= 4  # by the timer and by the sweep, before and after


@pytest.mark.usefixtures("database")
def test_b5_reads_and_sweeps_do_not_ask_again_before_the_time() -> None:
    """Without a time, they wait a quarter of an hour. A lapse by key asks each time."""
    for until in (timezone.now() + timedelta(hours=1), None):
        (bill,) = overdue()
        orders = Postponing(lambda bills, until=until: dict.fromkeys(bills, until))  # type: ignore[misc] # bound per time
        sweep = Sweep(orders.port().lapsing(), hooks=())
        assert sweep.once().outcomes == {Outcome.POSTPONED: 1}
        assert sweep.once().outcomes == {}
        assert orders.asked == [bill.pk]
        assert orders.lapse_overdue()[str(bill.pk)].outcome is Outcome.POSTPONED
        assert orders.lapse_overdue() == {}
        assert [order.status for order in orders.fresh(Bill.objects.filter(pk=bill.pk))] == ["awaiting"]
        assert orders.asked == [bill.pk] * 2
        assert orders.lapse([str(bill.pk)])[str(bill.pk)].outcome is Outcome.POSTPONED
        assert orders.asked == [bill.pk] * 3
        assert orders.cancel([bill], by="clerk", reason="merchant")[str(bill.pk)].outcome is Outcome.LAPSED
        assert orders.asked == [bill.pk] * 3


@pytest.mark.usefixtures("database")
def test_b5_a_rule_that_raises_or_returns_nonsense_keeps_no_other_order() -> None:
    """The order is named, the others lapse."""
    bills = overdue(6)
    (stranger,) = overdue()
    Bill.objects.filter(pk=stranger.pk).update(status="paid")
    naive = datetime.now()  # noqa: DTZ005 - the mistake
    nonsense: dict[int, Any] = {
        bills[0].pk: {bills[0]: naive},
        bills[1].pk: {bills[1]: timedelta(minutes=5)},
        bills[2].pk: {stranger: None},
        bills[3].pk: {str(bills[3].pk): None},
        bills[4].pk: RuntimeError("a rule"),
    }

    def rule(orders: Sequence[Bill]) -> Mapping[Any, Any]:
        found: dict[Any, Any] = {}
        for order in orders:
            if isinstance(said := nonsense.get(order.pk, {}), Exception):
                raise said
            found |= said
        return found

    errors: dict[str, str] = {}
    orders = Postponing(rule)
    swept = Sweep(
        orders.port().lapsing(), hooks=[lambda event: errors.update({key: str(event.error) for key in event.keys})]
    ).once()
    assert (swept.lapsed, swept.failed) == (1, [str(bill.pk) for bill in bills[:5]])
    assert statuses(bills) == ["awaiting"] * 5 + ["cancelled"]
    for bill, message in zip(bills, ["with a time zone"] * 2 + ["none of", "none of", "a rule"], strict=False):
        assert message in errors.get(str(bill.pk), message)


def test_b5_the_wait_for_an_order_without_a_time_is_fixed() -> None:
    """It does not grow, and ends with the next result."""
    clock = ManualClock()
    cooldown = Cooldown(Backoff(), clock)
    for _ in range(3):
        cooldown.record("1", Result(Outcome.POSTPONED))
        assert not cooldown.ready("1")
        clock.advance(POSTPONED)
        assert cooldown.ready("1")
    cooldown.record("1", Result(Outcome.POSTPONED))
    cooldown.record("1", Result(Outcome.LAPSED))
    assert cooldown.ready("1")
