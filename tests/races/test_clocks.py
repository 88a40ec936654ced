"""The database's clock is an hour ahead of this process's clock, or behind: the database decides (R29)."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from lapse import Deadline, open_timer
from lapse.engine.decision import Release
from lapse.integrations.django.rows.database_clock import DatabaseNow
from lapse.orders import Outcome, Settled
from tests.django.databases import ALIAS
from tests.django.wirings.cups import Cup, CupAttempt, CupOrder
from tests.django.wirings.money import Bank, CupOrders, begin
from tests.races.meeting import stored

HALF = timedelta(minutes=30)
NAMES = ("statement_timestamp", "transaction_timestamp", "clock_timestamp", "now")


@pytest.fixture(params=[1, -1], ids=["ahead", "behind"])
def hours(request: pytest.FixtureRequest, bank: Bank) -> Iterator[int]:
    """Set the database's clock: its functions are found in a schema that comes before PostgreSQL's own."""
    assert bank
    connection = connections[ALIAS]
    before = connection.settings_dict["OPTIONS"]
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA skewed")
        for name in NAMES:
            cursor.execute(
                f"CREATE FUNCTION skewed.{name}() RETURNS timestamptz STABLE LANGUAGE sql AS "
                f"$$ SELECT pg_catalog.{name}() + interval '{request.param} hours' $$"
            )
    connection.close()
    connection.settings_dict["OPTIONS"] = {**before, "options": "-c search_path=skewed,public,pg_catalog"}
    try:
        yield request.param
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA skewed CASCADE")
        connection.close()
        connection.settings_dict["OPTIONS"] = before


def place_due_in(left: timedelta) -> CupOrder:
    """Place an order whose time to pay ends so long from now, by the database's clock."""
    order = CupOrder.objects.create(cup=Cup.objects.create(stock=0), pay_by=DatabaseNow(-left))
    order.refresh_from_db()
    return order


def test_r29_a_database_an_hour_ahead_or_behind_decides(hours: int) -> None:
    """No order lapses early or late by the clock of this process, and a timer that fires early is armed again."""
    early, late = place_due_in(HALF), place_due_in(-HALF)
    keys = [str(early.pk), str(late.pk)]
    is_due_here = [order.pay_by < timezone.now() for order in (early, late)]
    assert is_due_here == ([False, False] if hours == 1 else [True, True])  # this process's clock is wrong each time
    shop = CupOrders()
    assert [deadline.key for deadline in shop.port().overdue(10)] == [keys[1]]
    with open_timer("memory://", name="clocks") as timer:  # its clock is this process's
        timer.arm([Deadline(keys[0], early.pay_by)])
        claims = timer.claim(limit=1, wait=timedelta(0))
        assert bool(claims) is (hours == -1)
        for decision in shop.port().lapsing().handle(claims).values():
            assert isinstance(decision, Release)
            assert decision.forgive
            assert timedelta(minutes=29) < (decision.delay or timedelta(0)) <= HALF
    results = shop.lapse(keys)
    assert [results[key].outcome for key in keys] == [Outcome.NOT_DUE, Outcome.LAPSED]
    assert timedelta(minutes=29) < (results[keys[0]].due_in or timedelta(0)) <= HALF
    assert not shop.lapse_overdue()
    assert (stored(early).status, stored(late).status) == ("awaiting", "cancelled")


def test_r29_questions_are_asked_by_the_databases_clock(hours: int, bank: Bank) -> None:
    """A buyer has a minute before the first question, and a link ends, by the clock that stored both."""
    assert hours
    order = place_due_in(HALF)
    begin(order, "a1")
    bank.pay("a1")
    reconciler = CupOrders().reconciler()
    assert reconciler.once() == {}
    CupAttempt.objects.update(
        ask_at=DatabaseNow(timedelta(seconds=-50)), expires_at=DatabaseNow(timedelta(minutes=-10))
    )
    assert reconciler.once() == {}
    (attempt,) = CupOrders().money.attempts.open_of([order])
    assert attempt.expires_in is not None
    assert timedelta(minutes=9) < attempt.expires_in <= timedelta(minutes=10)
    CupAttempt.objects.update(ask_at=DatabaseNow())
    assert reconciler.once() == {Settled.PAID: 1}
    assert stored(order).status == "paid"
