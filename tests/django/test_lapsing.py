"""The one transition, on PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from lapse.integrations.django import OpenTransaction
from lapse.orders.gateway import Attempt, ClosingGateway, Ruling
from lapse.orders.port import Outcome
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Order, Product
from tests.django.adopter.placing import NOT_YET, place, status, stock
from tests.django.adopter.threads import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def outcomes(orders: AdopterOrders, placed: Sequence[Order]) -> list[Outcome]:
    """Lapse these orders and return what became of each."""
    results = orders.lapse([str(order.pk) for order in placed])
    return [results[str(order.pk)].outcome for order in placed]


def test_an_overdue_order_lapses_once_and_its_stock_is_back(orders: AdopterOrders) -> None:
    """The second call finds it not unpaid and changes nothing."""
    (order,) = place()
    assert outcomes(orders, [order]) == [Outcome.LAPSED]
    assert outcomes(orders, [order]) == [Outcome.NOT_UNPAID]
    assert (status(order), stock(order)) == ("cancelled", 1)


def test_500_orders_lapse_by_a_handful_of_statements(orders: AdopterOrders) -> None:
    """The number of statements does not depend on the number of orders."""
    counts = []
    for size in (1, 50, 500):
        placed = place(size)
        with CaptureQueriesContext(connection) as queries:
            assert set(outcomes(orders, placed)) == {Outcome.LAPSED}
        counts.append(len(queries))
    assert counts[0] == counts[1] == counts[2] <= 11


def test_a_mixed_batch_of_500_needs_two_more_statements(orders: AdopterOrders) -> None:
    """The reason why orders did not lapse takes two queries for all of them."""
    placed = [*place(250), *place(250, due=NOT_YET)]
    with CaptureQueriesContext(connection) as queries:
        found = outcomes(orders, placed)
    assert found == [Outcome.LAPSED] * 250 + [Outcome.NOT_DUE] * 250
    assert len(queries) <= 13


def test_more_orders_than_a_batch_lapse_in_several_transactions(orders: AdopterOrders) -> None:
    """The hook never gets more than 500 rows."""
    sizes: list[int] = []
    orders.watch = lambda rows: sizes.append(len(rows))
    placed = place(1100)
    assert set(outcomes(orders, placed)) == {Outcome.LAPSED}
    assert sizes == [500, 500, 100]
    assert stock(placed[0]) == 1100


def test_the_hook_sees_the_new_values(orders: AdopterOrders) -> None:
    """The database's own time is in the row that the hook gets."""
    seen: list[Order] = []
    orders.watch = seen.extend
    outcomes(orders, place())
    assert seen[0].status == "cancelled"
    assert seen[0].cancelled_at == Order.objects.get().cancelled_at is not None


def test_an_extended_deadline_is_not_due(orders: AdopterOrders) -> None:
    """The stored deadline decides, and is in the answer, with how far off it is by the database's clock."""
    (order,) = place()
    later = timezone.now() + timedelta(hours=2)
    Order.objects.update(pay_by=later)
    result = orders.lapse([str(order.pk)])[str(order.pk)]
    assert (result.outcome, result.due_at) == (Outcome.NOT_DUE, later)
    assert result.due_in is not None
    assert timedelta(0) < result.due_in <= timedelta(hours=2)
    assert (status(order), stock(order)) == ("awaiting", 0)


def test_it_is_never_early(orders: AdopterOrders) -> None:
    """However often it is tried, it does not lapse before its deadline by the database's clock."""
    (order,) = place(due=timedelta(milliseconds=300))
    wait_until(lambda: outcomes(orders, [order]) == [Outcome.LAPSED])
    assert not Order.objects.filter(cancelled_at__lt=F("pay_by")).exists()


def test_an_order_without_a_deadline_stays(orders: AdopterOrders) -> None:
    """No deadline is never due."""
    (order,) = place()
    Order.objects.update(pay_by=None)
    assert outcomes(orders, [order]) == [Outcome.NOT_DUE]


@pytest.mark.parametrize("key", ["999999", "no number", "", "1" * 40, "007", "1\0", "\ud800", "x" * 600])
def test_a_key_that_names_no_order_is_unknown(orders: AdopterOrders, key: str) -> None:
    """No key does any harm to the other orders in its batch."""
    (order,) = place()
    results = orders.lapse([key, str(order.pk)])
    assert results[key].outcome is Outcome.UNKNOWN
    assert results[str(order.pk)].outcome is Outcome.LAPSED


def test_a_hook_that_fails_rolls_everything_back(orders: AdopterOrders) -> None:
    """State and stock are as before, and the next try succeeds."""
    placed = place(3)

    def fail(_: Sequence[Order]) -> None:
        raise RuntimeError("no stock table")

    orders.watch = fail
    with pytest.raises(RuntimeError, match="no stock table"):
        outcomes(orders, placed)
    assert {status(order) for order in placed} == {"awaiting"}
    assert stock(placed[0]) == 0
    orders.watch = lambda _: None
    assert outcomes(orders, placed) == [Outcome.LAPSED] * 3
    assert stock(placed[0]) == 3


class Till:
    """A gateway that must not be asked."""

    def close(self, attempt: Attempt) -> Ruling:
        """Fail the test."""
        raise AssertionError(attempt)


class ByCode(AdopterOrders):
    """Orders that the timer knows by a public code; a condition that looks at another table."""

    key = "code"
    unpaid = Q(status="awaiting") & (Q(lines__product__stock__gte=-1000) | Q(lines=None))
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}


def test_a_public_code_may_be_the_key() -> None:
    """The key is any unique field, and the condition may look at other tables."""
    first, second = place(2)
    orders = ByCode()
    results = orders.lapse([first.code, str(second.pk)])
    assert results[first.code].outcome is Outcome.LAPSED
    assert results[str(second.pk)].outcome is Outcome.UNKNOWN
    assert [order.key for order in orders.port().overdue(10)] == [second.code]


def test_gateways_are_not_asked_inside_a_transaction(orders: AdopterOrders) -> None:
    """The error says so before anything is changed."""

    class Shop(AdopterOrders):
        gateways: ClassVar[dict[str, ClosingGateway]] = {"till": Till()}

    (order,) = place()
    with transaction.atomic(), pytest.raises(OpenTransaction, match="non_atomic_requests"):
        Shop().lapse([str(order.pk)])
    with transaction.atomic():
        assert outcomes(orders, [order]) == [Outcome.LAPSED]  # without gateways it may be part of a sale


def test_lapsing_overdue_holds_takes_the_matching_ones_only(orders: AdopterOrders) -> None:
    """A sale lapses the overdue holds on its own product, and no more than it asked for."""
    mine, other = Product.objects.create(stock=5), Product.objects.create(stock=5)
    placed = place(3, product=mine)
    (untouched,) = place(product=other)
    where = Q(lines__product=mine)
    assert len(orders.lapse_overdue(where, limit=2)) == 2
    assert len(orders.lapse_overdue(where)) == 1
    assert {status(order) for order in placed} == {"cancelled"}
    assert status(untouched) == "awaiting"


def test_a_statement_that_fails_is_no_absent_database(orders: AdopterOrders) -> None:
    """An error of one order's own is passed on as it is, so that the order is found and isolated."""
    (order,) = place()

    def too_long(_: Sequence[Order]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 20")
            cursor.execute("SELECT pg_sleep(5)")

    orders.watch = too_long
    with pytest.raises(DatabaseError):
        outcomes(orders, [order])
