"""Each way to lock, raced on databases with row locks: the payer comes first, and the lapse comes first."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
from django.db import OperationalError, connections, transaction
from django.db.models import Q
from django.utils import timezone
from psycopg import IsolationLevel

from lapse.integrations.django import NotUnpaid, UnpaidOrders
from lapse.orders import Outcome
from tests.django.databases import ALIAS
from tests.django.racing import lapse_first, payer_first, waits_for_payer
from tests.django.wirings.models import Bill, BillLine, BillPayment, Sale, SaleDeadline
from tests.django.wirings.shapes import Booking, Invoice, Invoiced, InvoiceLine, Suite

CANCELLED: dict[str, object] = {"status": "cancelled"}


class Plain(UnpaidOrders[Any]):
    """The condition reads the order's own row."""

    model: ClassVar[type[Any]] = Bill
    unpaid = Q(status="awaiting")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = CANCELLED

    def on_lapse(self, orders: Any) -> None:
        """Keep no stock."""


class Inherited(Plain):
    """The condition reads the row of the parent's parent, which joins a voucher that most orders lack."""

    model = Suite
    unpaid = Q(status="awaiting") & (Q(voucher__isnull=True) | Q(voucher__active=True))
    lock = ("voucher",)


class ByInvoice(Plain):
    """A foreign key to a column that is no primary key."""

    model = Invoiced
    unpaid = Q(status="awaiting", invoice__status="open")
    lock = ("invoice",)


class ByLines(Plain):
    """Rows that refer to the order."""

    unpaid = Q(status="awaiting", lines__status="pending")
    lock = ("lines",)


class ByLinesOfInvoice(Plain):
    """Rows that refer to a row that the order refers to."""

    model = Invoiced
    unpaid = Q(status="awaiting", invoice__lines__status="open")
    lock = ("invoice__lines",)


class ByAbsence(Plain):
    """A payment is a row that is added; each payer locks the order first."""

    unpaid = Q(status="awaiting") & ~Q(payments__state="done")
    writers_lock = "self"


class ByAbsenceBehind(Plain):
    """A payment is a row that is added; each payer locks the sale first."""

    model = SaleDeadline
    unpaid = Q(open=True) & ~Q(sale__status="Paid")
    lapsed: ClassVar[dict[str, object]] = {"open": False}
    writers_lock = "sale"


@dataclass
class Way:
    """One way to lock: how an order is placed, and what its payer does."""

    orders: type[UnpaidOrders[Any]]
    place: Callable[[], Any]
    pay: Callable[[Any], object]


def due() -> Any:
    """Return a deadline that has passed."""
    return timezone.now() - timedelta(minutes=1)


def invoiced() -> Invoiced:
    """Place an order with an invoice of two lines. The numbers are not the primary keys."""
    invoice = Invoice.objects.create(number=f"{Invoice.objects.count() + 1000}")
    InvoiceLine.objects.bulk_create(InvoiceLine(invoice=invoice) for _ in range(2))
    return Invoiced.objects.create(invoice=invoice, pay_by=due())


def billed() -> Bill:
    """Place a bill of two lines."""
    bill = Bill.objects.create(pay_by=due())
    BillLine.objects.bulk_create(BillLine(bill=bill) for _ in range(2))
    return bill


def lock_and_add(bill: Bill) -> None:
    """Pay by a row more, as the shop declares: the order is locked first."""
    Bill.objects.select_for_update().get(pk=bill.pk)
    BillPayment.objects.create(bill=bill)


WAYS = [
    Way(Plain, billed, lambda order: Bill.objects.filter(pk=order.pk).update(status="paid")),
    Way(
        Inherited,
        lambda: Suite.objects.create(number=str(Booking.objects.count()), pay_by=due()),
        lambda order: Booking.objects.filter(pk=order.pk).update(status="paid"),
    ),
    Way(ByInvoice, invoiced, lambda order: Invoice.objects.filter(number=order.invoice_id).update(status="paid")),
    Way(ByLines, billed, lambda order: order.lines.update(status="paid")),
    Way(ByLinesOfInvoice, invoiced, lambda order: order.invoice.lines.update(status="paid")),
    Way(ByAbsence, billed, lock_and_add),
    Way(
        ByAbsenceBehind,
        lambda: SaleDeadline.objects.create(sale=Sale.objects.create(), pay_by=due()),
        lambda order: Sale.objects.filter(pk=order.sale_id).update(status="Paid"),
    ),
]


@pytest.mark.usefixtures("locking")
def test_a7_b1_a_payer_that_comes_first_wins_by_each_way_to_lock() -> None:
    """The payer has paid and not committed: the order is LOCKED, and not unpaid once the payment is committed."""
    for way in WAYS:
        order = way.place()
        outcomes = payer_first(way.orders(), str(order.pk), partial(way.pay, order))
        assert outcomes == (Outcome.LOCKED, Outcome.NOT_UNPAID), way.orders


@pytest.mark.usefixtures("locking")
def test_a7_b1_a_lapse_that_comes_first_wins_by_each_way_to_lock() -> None:
    """The payer holds the order while it is being lapsed: it waits, and then knows that the order cannot be paid."""
    for way in WAYS:
        order = way.place()
        assert lapse_first(way.orders, str(order.pk), way.pay) == (Outcome.LAPSED, "not unpaid"), way.orders


@pytest.mark.usefixtures("locking")
def test_b1_without_the_lock_a_paid_order_is_cancelled() -> None:
    """What the declaration is for. The order's own row is locked without a declaration."""
    for way in WAYS:
        if not (way.orders.lock or way.orders.writers_lock) or way.orders in (Inherited, ByAbsence):
            continue
        unlocked = type("Unlocked", (way.orders,), {"lock": (), "writers_lock": None})
        order = way.place()
        outcome, _ = payer_first(unlocked(), str(order.pk), partial(way.pay, order))
        assert outcome is Outcome.LAPSED, way.orders


STRICT: dict[str, dict[str, Any]] = {
    "postgresql": {"isolation_level": IsolationLevel.REPEATABLE_READ},
    "mariadb": {"isolation_level": "repeatable read"},
}


def use(**options: Any) -> None:
    """Let all further connections have these OPTIONS."""
    connection = connections[ALIAS]
    connection.close()
    connection.settings_dict["OPTIONS"] = {**connection.settings_dict["OPTIONS"], **options}


def outcome_of_hold(orders: UnpaidOrders[Any], order: Any) -> str:
    """Hold the order; return why that is not possible, or that it is unpaid."""
    try:
        with orders.hold(order):
            return "unpaid"
    except NotUnpaid as error:
        return str(error.outcome)


def test_b1_what_waited_sees_what_was_committed_meanwhile(locking: str) -> None:
    """A person's cancel and a payer's hold wait for another payer, also where sessions are REPEATABLE READ."""
    for options, ways in (({}, WAYS[:2]), (STRICT[locking], WAYS)):
        use(**options)
        for way in ways:
            order = way.place()
            pay = partial(way.pay, order)
            cancel = partial(way.orders().cancel, [order], by="clerk", reason="merchant")
            assert waits_for_payer(cancel, pay)[str(order.pk)].outcome is Outcome.NOT_UNPAID, way.orders
            order = way.place()
            held = waits_for_payer(partial(outcome_of_hold, way.orders(), order), partial(way.pay, order))
            assert held == "not unpaid", way.orders


def test_b1_hold_in_a_transaction_of_the_shop_that_has_read_before(locking: str) -> None:
    """Under REPEATABLE READ, MariaDB reads what is there now; PostgreSQL ends the transaction, which is passed on."""
    use(**STRICT[locking])
    for way in [way for way in WAYS if way.orders.writers_lock is None]:
        order = way.place()

        def hold(way: Way = way, order: Any = order) -> str:
            with transaction.atomic(using=ALIAS):
                assert way.orders.model.objects.count()  # the snapshot is taken
                return outcome_of_hold(way.orders(), order)

        if locking == "mariadb":
            assert waits_for_payer(hold, partial(way.pay, order)) == "not unpaid", way.orders
        else:
            with pytest.raises(OperationalError, match="could not serialize access"):
                waits_for_payer(hold, partial(way.pay, order))
