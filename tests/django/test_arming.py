"""The timer is armed after the commit, and never fails a sale."""

import logging
from collections.abc import Iterable
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models.functions import Now
from pytest_django import Settings

from lapse.engine.deadline import Deadline
from lapse.engine.errors import TimerUnavailable
from lapse.engine.timer import Timer
from lapse.integrations.django import arming
from lapse.orders import arm_unpaid
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Order
from tests.django.adopter.placing import NOT_YET, place

pytestmark = pytest.mark.django_db(transaction=True)


def pending(timer: Timer) -> int:
    """Return how many deadlines the timer has."""
    return timer.stats().pending


def test_arming_waits_for_the_commit(orders: AdopterOrders, memory: Timer) -> None:
    """Inside the transaction nothing is armed yet."""
    with transaction.atomic():
        (order,) = place(due=NOT_YET)
        orders.arm(order)
        assert pending(memory) == 0
    assert pending(memory) == 1
    assert memory.stats().next_due is not None


def test_an_order_that_is_rolled_back_leaves_no_deadline(orders: AdopterOrders, memory: Timer) -> None:
    """What was never sold is never armed."""
    with transaction.atomic():
        orders.arm(*place(due=NOT_YET))
        transaction.set_rollback(True)
    assert pending(memory) == 0


def test_outside_a_transaction_arming_is_at_once(orders: AdopterOrders, memory: Timer) -> None:
    """There is no commit to wait for; the same holds for disarming."""
    (order,) = place(due=NOT_YET)
    orders.arm(order)
    assert pending(memory) == 1
    orders.disarm(order)
    assert pending(memory) == 0


def test_without_autocommit_arming_is_at_once(orders: AdopterOrders, memory: Timer) -> None:
    """Without autocommit Django cannot wait for a commit: to arm early is harmless, to disarm early is not done."""
    transaction.set_autocommit(False)
    try:
        (order,) = place(due=NOT_YET)
        orders.arm(order)
        assert pending(memory) == 1
        orders.disarm(order)
        assert pending(memory) == 1
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)


def test_a_deadline_that_the_database_computed_is_read_back(orders: AdopterOrders, memory: Timer) -> None:
    """An expression was saved, so its value is read from the database."""
    order = Order.objects.create(code="computed", pay_by=Now() + timedelta(hours=1))
    orders.arm(order)
    assert pending(memory) == 1


def test_an_order_without_a_deadline_is_not_armed(orders: AdopterOrders, memory: Timer) -> None:
    """There is nothing to wake up for."""
    orders.arm(Order.objects.create(code="no deadline"))
    assert pending(memory) == 0


def test_a_timer_that_is_away_does_not_fail_the_sale(
    orders: AdopterOrders, memory: Timer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One log line, not one per order, and one more when the timer is back; the sweep finds the orders."""
    monkeypatch.setattr(arming, "LEFT_ALONE", 0.0)

    def refuse(_: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        raise TimerUnavailable(f"connection refused ({only_unknown=})")

    with monkeypatch.context() as away, caplog.at_level(logging.WARNING, "lapse"):
        away.setattr(memory, "arm", refuse)
        for _ in range(3):
            with transaction.atomic():
                orders.arm(*place())
    assert [record.message.startswith("the timer cannot be armed") for record in caplog.records] == [True]
    with caplog.at_level(logging.WARNING, "lapse"):
        orders.arm(*place())
    assert caplog.records[-1].message == "the timer can be armed again"
    assert len(orders.lapse_overdue()) == 4


def test_a_timer_that_hangs_delays_one_sale_and_not_every_one(
    orders: AdopterOrders, memory: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After no answer the timer is left alone for a while, however many orders are placed."""
    asked: list[int] = []

    def hang(deadlines: Iterable[Deadline], *, only_unknown: bool = False) -> None:
        asked.append(len(list(deadlines)))
        raise TimerUnavailable(f"no answer in time ({only_unknown=})")

    monkeypatch.setattr(arming, "LEFT_ALONE", 3600.0)
    monkeypatch.setattr(memory, "arm", hang)
    for _ in range(5):
        orders.arm(*place())
    assert asked == [1]


@pytest.mark.parametrize("url", [None, "", "none"])
def test_without_a_timer_there_is_nothing_to_arm(orders: AdopterOrders, settings: Settings, url: str | None) -> None:
    """The sweep alone does the work."""
    settings.LAPSE_TIMER = url
    (order,) = place()
    orders.arm(order)
    orders.disarm(order)
    assert list(orders.lapse_overdue()) == [str(order.pk)]


def test_every_unpaid_order_is_armed_again(orders: AdopterOrders, memory: Timer) -> None:
    """A timer that has lost its deadlines gets those of all unpaid orders, and no others."""
    place(5, due=NOT_YET)
    (paid,) = place(due=NOT_YET)
    Order.objects.filter(pk=paid.pk).update(status="paid")
    assert list(arm_unpaid(memory, orders.port())) == [5]
    assert pending(memory) == 5
