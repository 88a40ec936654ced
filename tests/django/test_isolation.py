"""A condition on the absence of rows, inside a transaction of the shop that cannot see which rows were added since."""

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import connections, transaction
from django.db.models import Q
from django.utils import timezone
from psycopg import IsolationLevel

from lapse.integrations.django import OpenTransaction, UnpaidOrders
from lapse.orders import Outcome
from tests.django.databases import ALIAS
from tests.django.wirings.models import Bill, BillPayment


class Unsettled(UnpaidOrders[Bill]):
    """A bill is unpaid while it has no payment. Each payer locks the bill before the payment is added."""

    model = Bill
    unpaid = Q(status="awaiting", payments__isnull=True)
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}
    writers_lock: ClassVar[str | None] = "self"

    def on_lapse(self, orders: Any) -> None:
        """Keep no stock. Inside the transaction of Lapse, Lapse may be called again."""
        self.lapse([str(order.pk) for order in orders])


class NoAbsence(Unsettled):
    """Reads columns of the bill alone."""

    unpaid = Q(status="awaiting")
    writers_lock = None


STRICT: dict[str, list[dict[str, Any]]] = {
    "postgresql": [
        {"isolation_level": IsolationLevel.REPEATABLE_READ},
        {"isolation_level": IsolationLevel.SERIALIZABLE},
    ],
    "mariadb": [{"isolation_level": "repeatable read"}, {"isolation_level": "serializable"}, {"isolation_level": None}],
}


def use(**options: Any) -> None:
    """Open the connection again, with these further OPTIONS."""
    connection = connections[ALIAS]
    connection.close()
    connection.settings_dict["OPTIONS"] |= options


def overdue() -> Bill:
    """Place a bill that is overdue."""
    return Bill.objects.create(pay_by=timezone.now() - timedelta(minutes=1))


def test_an_old_snapshot_is_refused(locking: str) -> None:
    """At each level that is stricter than READ COMMITTED; the message says what to set."""
    bill = overdue()
    for options in STRICT[locking]:
        use(**options)
        with transaction.atomic(using=ALIAS):
            assert Bill.objects.count() == 1  # the snapshot is taken
            with pytest.raises(OpenTransaction, match="read committed"), Unsettled().hold(bill):
                pass
            with pytest.raises(OpenTransaction, match="read committed"):
                Unsettled().fresh(Bill.objects.filter(status="paid"))  # also if no order is overdue
        with transaction.atomic(using=ALIAS), pytest.raises(OpenTransaction, match="read committed"):
            Unsettled().lapse([str(bill.pk)])
        with transaction.atomic(using=ALIAS), NoAbsence().hold(bill) as held:
            assert held == bill
    bill.refresh_from_db()
    assert bill.status == "awaiting"


def test_the_own_transaction_of_lapse_is_not_refused(locking: str) -> None:
    """It is READ COMMITTED in a session of any level, also where a hook calls Lapse again."""
    for options in STRICT[locking]:
        use(**options)
        paid = overdue()
        BillPayment.objects.create(bill=paid)
        results = Unsettled().lapse([str((bill := overdue()).pk), str(paid.pk)])
        assert [result.outcome for result in results.values()] == [Outcome.LAPSED, Outcome.NOT_UNPAID]
        with Unsettled().hold(overdue()) as held, Unsettled().hold(held):
            pass
        with transaction.atomic(using=ALIAS), pytest.raises(OpenTransaction):  # no transaction is remembered too long
            Unsettled().lapse([str(bill.pk)])


def test_a_transaction_that_sees_what_is_committed_is_not_refused(locking: str) -> None:
    """READ COMMITTED is the default on PostgreSQL, and the default of Django on MySQL and MariaDB."""
    del locking
    bill = overdue()
    with transaction.atomic(using=ALIAS), Unsettled().hold(bill) as held:
        assert held == bill
