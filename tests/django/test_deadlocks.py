"""A lapse and a sale that lock the same rows in different sequences: a deadlock is repeated, and counted once (B6)."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import ClassVar

import pytest
from django.db import OperationalError, connections, transaction
from django.db.models import F, Q
from django.utils import timezone

from lapse.integrations.django import UnpaidOrders
from lapse.orders import Outcome, Result
from tests.django.adopter.threads import PATIENCE
from tests.django.databases import ALIAS
from tests.django.racing import OppositeSale
from tests.django.wirings.models import Bill, Stock

FIRST, SECOND = 1, 2
"""The two products of each bill. A sale takes the first one first."""


class Backwards(UnpaidOrders[Bill]):
    """Orders whose pieces come back in another sequence than a sale takes them. `between` is called between the two."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def __init__(self, between: Callable[[], object] = lambda: None) -> None:
        self.between = between
        self.calls = 0

    def on_lapse(self, orders: Sequence[Bill]) -> None:
        """Return one piece of each product."""
        self.calls += 1
        change(SECOND)(len(orders))
        self.between()
        change(FIRST)(len(orders))


def overdue() -> Bill:
    """Place a bill that is overdue, and have stock."""
    for pk in (FIRST, SECOND):
        Stock.objects.get_or_create(pk=pk)
    return Bill.objects.create(pay_by=timezone.now() - timedelta(minutes=1))


def pieces() -> list[int]:
    """Return the stock of both products."""
    return list(Stock.objects.order_by("pk").values_list("pieces", flat=True))


def change(pk: int) -> Callable[[int], object]:
    """Return what changes the pieces of this product."""
    return lambda by: Stock.objects.filter(pk=pk).update(pieces=F("pieces") + by)


@pytest.mark.usefixtures("locking")
def test_b6_a_deadlock_with_a_sale_is_repeated_and_counted_once() -> None:
    """The database ends the lapse, whose second try waits for the sale. Both are in effect once."""
    bill = overdue()
    sale = OppositeSale(change(FIRST), change(SECOND))
    orders = Backwards(sale.meet)
    result = orders.lapse([str(bill.pk)])[str(bill.pk)]
    sale.sold.result(PATIENCE)
    assert (result.outcome, orders.calls) == (Outcome.LAPSED, 2)
    assert pieces() == [0, 0]
    assert orders.lapse([str(bill.pk)])[str(bill.pk)].outcome is Outcome.NOT_UNPAID


@pytest.mark.usefixtures("locking")
def test_b6_a_deadlock_in_a_transaction_of_the_shop_is_passed_on() -> None:
    """The database has ended that transaction as well: only the shop can repeat it."""
    bill = overdue()
    sale = OppositeSale(change(FIRST), change(SECOND))
    orders = Backwards(sale.meet)

    def lapse() -> None:
        with transaction.atomic(using=ALIAS):
            orders.lapse([str(bill.pk)])

    with pytest.raises(OperationalError, match=r"(?i)deadlock"):
        lapse()
    sale.sold.result(PATIENCE)
    assert (orders.calls, pieces()) == (1, [-1, -1])
    bill.refresh_from_db()
    assert bill.status == "awaiting"


FAILURES = {
    "postgresql": ["DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$"],
    "mysql": ["SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213", "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1020"],
}
"""What a database says where it cannot serialize a transaction."""


@pytest.mark.usefixtures("locking")
def test_b6_a_serialization_failure_is_repeated_three_times() -> None:
    """Once, twice, and then the error is passed on. A person's cancel is repeated as well."""

    def outcome(statement: str, failures: int, *, person: bool = False) -> Result:
        def fail() -> None:
            if orders.calls <= failures:
                with connections[ALIAS].cursor() as cursor:
                    cursor.execute(statement)

        bill = overdue()
        orders = Backwards(fail)
        if person:
            return orders.cancel([bill], by="clerk", reason="merchant")[str(bill.pk)]
        return orders.lapse([str(bill.pk)])[str(bill.pk)]

    overdue()
    for statement in FAILURES[connections[ALIAS].vendor]:
        before = pieces()
        assert outcome(statement, 2).outcome is Outcome.LAPSED
        assert outcome(statement, 2, person=True).outcome is Outcome.LAPSED
        assert pieces() == [count + 2 for count in before]
        with pytest.raises(OperationalError):
            outcome(statement, 3)
        assert pieces() == [count + 2 for count in before]
