"""What a condition reads is seen without a database, and a condition that no lock can hold is refused."""

from datetime import timedelta
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
from django.db import models
from django.db.models import Case, Count, Exists, F, FilteredRelation, Model, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Now
from django.db.models.lookups import Exact, In, IsNull
from django.utils import timezone

from lapse.integrations.django import UnpaidOrders
from lapse.integrations.django.checks.setup import check_setup
from lapse.integrations.django.rows.condition import Reads, reads_of
from lapse.orders import OrderBatch, Outcome, Sweep, WrongTransition
from tests.django.wirings.bills import Bills
from tests.django.wirings.models import Bill, BillLine, BillPayment, Sale, SaleDeadline, Stock, VoucherBill


class Generated(models.Model):
    """An order for which the database decides whether it is open."""

    status = models.CharField(max_length=20, default="awaiting")
    paid = models.BooleanField(default=False)
    pay_by = models.DateTimeField(db_index=True)
    open = models.GeneratedField(
        expression=Case(When(status="awaiting", paid=False, then=True), default=False),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    class Meta:
        """The application of the other models."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"order {self.pk}"


@pytest.mark.parametrize(
    ("model", "condition", "reads"),
    [
        (Bill, Q(status="a", paid=False), Reads({"status", "paid"})),
        (Bill, ~Q(status__in=["paid"]), Reads({"status"})),
        (Bill, Q(received__lt=F("total") - 1), Reads({"received", "total"})),
        (Bill, Q(pay_by__date__gte="2030-01-01"), Reads({"pay_by"})),
        (SaleDeadline, Q(sale__pk=3) | Q(sale_id=3) | Q(sale=3) | Q(sale__isnull=False), Reads({"sale"})),
        (SaleDeadline, Q(open=True, sale__status="P"), Reads({"open", "sale"}, {"sale"})),
        (SaleDeadline, ~Q(sale__status="P"), Reads({"sale"}, {"sale"})),
        (BillLine, Q(status=F("bill__status")), Reads({"status", "bill"}, {"bill"})),
        (Sale, Q(deadline__open=True), Reads(related={"deadline"})),
        (Sale, Q(deadline__isnull=True), Reads(absent={"deadline__isnull"})),
        (Sale, Q(deadline=None), Reads(absent={"deadline"})),
        (Bill, Q(lines__status="p"), Reads(related={"lines"}, many=True)),
        (BillLine, Q(bill__payments__state="p"), Reads({"bill"}, {"bill__payments"}, many=True)),
        (Bill, ~Q(payments__state="done"), Reads(absent={"payments__state"}, many=True)),
        (Bill, Q(lines__status="p") ^ Q(paid=True), Reads({"paid"}, absent={"lines__status"}, many=True)),
        (Bill, ~Q(~Q(lines__status="p")), Reads(absent={"lines__status"}, many=True)),
        (Bill, ~Q(status=F("lines__status")), Reads({"status"}, absent={"lines__status"}, many=True)),
        (Bill, Q(total=F("lines__pk") + 1), Reads({"total"}, {"lines"}, many=True)),
        (Bill, Q(total=Coalesce(F("lines__pk"), 10)), Reads({"total"}, absent={"lines__pk"}, many=True)),
        (Bill, Q(Exact(Count("lines"), 0)), Reads(absent={"lines"}, many=True)),
        (Bill, Q(IsNull(F("lines"), True)), Reads(absent={"lines"}, many=True)),  # noqa: FBT003 - Django's own class
        (Bill, Q(status=F("status")[:3]), Reads({"status"})),
        (Bill, Q(total=RawSQL("SELECT 1", ())), Reads({"total"}, absent={"RawSQL(SELECT 1, ())"})),
        (Bill, Q(In(F("pk"), BillPayment.objects.all())), Reads({"id"}, absent={"a subquery of BillPayment"})),
        (VoucherBill, Q(bill_ptr__status="a", bill_ptr=3), Reads({"status", "bill_ptr"})),
        (Generated, Q(open=True), Reads({"open", "paid", "status"})),
        (
            Bill,
            ~Exists(BillPayment.objects.filter(bill=OuterRef("pk"))) & Q(paid=False),
            Reads({"paid"}, absent={"a subquery of BillPayment"}),
        ),
        (Bill, Q(pk__in=BillPayment.objects.values("bill")), Reads({"id"}, absent={"a subquery of BillPayment"})),
    ],
)
def test_what_a_condition_reads(model: type[Model], condition: Any, reads: Reads) -> None:
    """Own columns, rows that can be locked, and rows whose absence the condition needs."""
    assert reads_of(model, condition) == reads


UNDONE = BillPayment.objects.filter(bill=OuterRef("pk"), state="new")


@pytest.mark.parametrize(
    ("rows", "condition", "reads"),
    [
        (
            Bill.objects.filter(~Exists(UNDONE)),
            Q(paid=False),
            {"the base manager, which has a subquery of BillPayment"},
        ),
        (
            Bill.objects.exclude(payments__state="new"),
            Q(paid=False),
            {"the base manager, which has a subquery of Bill"},
        ),
        (Bill.objects.extra(where=["1 = 1"]), Q(paid=False), {"the base manager, which has raw SQL"}),
        (Bill.objects.alias(n=RawSQL("1", ())), Q(n=1), {"the annotation 'n', which has raw SQL"}),
        (Bill.objects.alias(n=Count("lines")), Q(paid=False), {"the base manager, which joins wirings_billline"}),
        (BillLine.objects.filter(bill__paid=False), Q(status="a"), {"the base manager, which joins wirings_bill"}),
        (
            Bill.objects.alias(lines__n=Subquery(UNDONE.values("amount")[:1])),
            Q(lines__n=1),
            {"the annotation 'lines__n', which has a subquery of BillPayment"},
        ),
        (
            Bill.objects.alias(new=FilteredRelation("lines", condition=Q(lines__status="new"))),
            Q(new__isnull=True),
            {"the FilteredRelation 'new'"},
        ),
        (Bill.objects.filter(paid=False), Q(status="a"), set()),
        (VoucherBill.objects.filter(paid=False), Q(status="a"), set()),
        (Bill.objects.alias(open=Case(When(paid=False, then=F("total")), default=0)), Q(open__gt=0), set()),
    ],
)
def test_what_a_base_manager_reads(
    monkeypatch: pytest.MonkeyPatch, rows: QuerySet[Any], condition: Q, reads: set[str]
) -> None:
    """Its conditions and annotations decide as well which orders are unpaid. Own columns need no other lock."""
    manager = Mock(all=lambda: rows)
    monkeypatch.setattr(type(rows.model), "_base_manager", manager)
    assert reads_of(rows.model, condition).absent == reads


class Companions(UnpaidOrders[SaleDeadline]):
    """The deadline is in a companion."""

    model = SaleDeadline
    unpaid = Q(open=True, sale__status="Pending")
    deadline = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"open": False}

    def on_lapse(self, orders: OrderBatch[SaleDeadline]) -> None:
        """Cancel the sales."""
        Sale.objects.filter(deadline__in=orders).update(status="Cancelled")


def found(monkeypatch: pytest.MonkeyPatch, orders: type[UnpaidOrders[Any]], **attributes: object) -> list[str]:
    """Change these attributes of the class, and return the ids of what the system check finds."""
    changed = type("Changed", (orders,), attributes)
    monkeypatch.setattr("lapse.integrations.django.checks.setup.orders_class", lambda: changed)
    return [str(message.id) for message in check_setup()]


@pytest.mark.parametrize("unpaid", [Q(paid=False), Q(received__lt=F("total"))])
def test_a1_what_lapsed_writes_must_be_read(monkeypatch: pytest.MonkeyPatch, unpaid: Q) -> None:
    """The row would match for ever."""
    assert found(monkeypatch, Bills, unpaid=unpaid) == ["lapse.E015"]
    assert found(monkeypatch, Bills, unpaid=unpaid & Q(status="awaiting")) == []


def test_a1_what_the_database_generates_is_read_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generated column changes with the column that `lapsed` writes."""
    assert found(monkeypatch, Bills, model=Generated, unpaid=Q(open=True)) == []
    wrong = {"pay_by": timezone.now()}
    assert found(monkeypatch, Bills, model=Generated, unpaid=Q(open=True), lapsed=wrong) == ["lapse.E015"]


@pytest.mark.parametrize("unpaid", [Q(paid=False), Q(received__lt=F("total"))])
def test_a1_stock_is_not_given_back_again_and_again(database: str, unpaid: Q) -> None:
    """Where the check was passed over, the transaction is rolled back: loudly, at each sweep."""
    del database
    Stock.objects.create(pieces=0)
    bill = Bill.objects.create(pay_by=timezone.now() - timedelta(minutes=1))
    orders = type("Forced", (Bills,), {"unpaid": unpaid})()
    with pytest.raises(WrongTransition, match="still count as unpaid"):
        orders.lapse([str(bill.pk)])
    for _ in range(3):
        sweep = Sweep(orders.port().lapsing())
        assert sweep.once().failed == [str(bill.pk)]
    bill.refresh_from_db()
    assert (bill.status, Stock.objects.get().pieces) == ("awaiting", 0)


def test_a3_a_negated_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled row is not paid either."""
    assert found(monkeypatch, Bills, unpaid=~Q(status__in=["paid"])) == ["lapse.E015"]
    assert found(monkeypatch, Bills, unpaid=~Q(status__in=["paid", "cancelled"])) == []


def test_a3_a_negated_state_gives_nothing_back(database: str) -> None:
    """Where the check was passed over."""
    del database
    Stock.objects.create(pieces=0)
    bill = Bill.objects.create(pay_by=timezone.now() - timedelta(minutes=1))
    with pytest.raises(WrongTransition):
        type("Forced", (Bills,), {"unpaid": ~Q(status__in=["paid"])})().lapse([str(bill.pk)])
    assert Stock.objects.get().pieces == 0


def test_b1_a_condition_that_crosses_a_relation_needs_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relation is named; a longer path locks what is on its way as well."""
    assert found(monkeypatch, Companions) == ["lapse.E012"]
    assert found(monkeypatch, Companions, lock=("sale",)) == []
    assert found(monkeypatch, Bills, unpaid=Q(status="awaiting", lines__status="p")) == ["lapse.E012"]
    assert found(monkeypatch, Bills, unpaid=Q(status="awaiting", lines__status="p"), lock=("lines",)) == []


@pytest.mark.parametrize("lock", ["sale", ("sales",), ("open",), ("sale__status",)])
def test_a_lock_that_leads_nowhere_is_found(monkeypatch: pytest.MonkeyPatch, lock: object) -> None:
    """A text in place of a tuple would be read letter by letter."""
    assert found(monkeypatch, Companions, lock=lock) == ["lapse.E012"]


@pytest.mark.parametrize("absence", [~Q(payments__state="done"), Q(payments__isnull=True)])
def test_b1_a_condition_on_absent_rows_needs_what_every_writer_locks(
    monkeypatch: pytest.MonkeyPatch, absence: Q
) -> None:
    """Locks on rows that exist cannot keep a row from being added."""
    unpaid = Q(status="awaiting") & absence
    assert found(monkeypatch, Bills, unpaid=unpaid) == ["lapse.E013"]
    assert found(monkeypatch, Bills, unpaid=unpaid, lock=("payments",)) == ["lapse.E013"]
    assert found(monkeypatch, Bills, unpaid=unpaid, writers_lock="payers") == ["lapse.E013"]
    assert found(monkeypatch, Bills, unpaid=unpaid, writers_lock="self") == []


@pytest.mark.parametrize(
    "of_time", [Q(pay_by__gt=Now()), ~Q(pay_by__lte=Now() + timedelta(0)), Q(pay_by__range=(None, Now()))]
)
def test_a_condition_must_not_end_with_the_deadline(monkeypatch: pytest.MonkeyPatch, of_time: Q) -> None:
    """Such an order would never lapse, or could never be paid in time. A fixed time is no such condition."""
    assert found(monkeypatch, Bills, unpaid=Q(status="awaiting") & of_time) == ["lapse.E022"]
    since = Q(status="awaiting", pay_by__gt=timezone.now(), seen_at__lt=Now())
    assert found(monkeypatch, Bills, unpaid=since) == []


def test_what_writers_lock_must_be_there_for_each_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order without payments has no payment to lock."""
    assert found(monkeypatch, Bills, unpaid=Q(payments__isnull=True), writers_lock="payments") == ["lapse.E013"]
    unpaid = Q(open=True) & ~Exists(BillPayment.objects.filter(bill=OuterRef("sale")))
    assert found(monkeypatch, Companions, unpaid=unpaid, writers_lock="sale") == []
    monkeypatch.setattr(SaleDeadline._meta.get_field("sale"), "null", True)
    assert found(monkeypatch, Companions, unpaid=unpaid, writers_lock="sale") == ["lapse.E013"]


def test_b3_nothing_that_cancels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either values or a transition, not neither and not both."""

    def transition(orders: Bills, order: Bill) -> None:
        del orders, order

    assert found(monkeypatch, Bills, lapsed={}) == ["lapse.E014"]
    assert found(monkeypatch, Bills, transition=transition) == ["lapse.E014"]
    assert found(monkeypatch, Bills, transition=transition, lapsed={}) == []


class ByHook(Bills):
    """The hook cancels the orders: not what the documents say, but it works."""

    lapsed: ClassVar[dict[str, object]] = {}

    def on_lapse(self, orders: OrderBatch[Bill]) -> None:
        """Cancel, and give back."""
        Bill.objects.filter(pk__in=[order.pk for order in orders]).update(status="cancelled")
        super().on_lapse(orders)


def test_b3_a_hook_that_cancels_lapses_once(database: str) -> None:
    """Past the check it lapses, and is no "changed meanwhile" for ever."""
    del database
    Stock.objects.create(pieces=0)
    bill = Bill.objects.create(pay_by=timezone.now() - timedelta(minutes=1))
    outcomes = [ByHook().lapse([str(bill.pk)])[str(bill.pk)].outcome for _ in range(2)]
    assert outcomes == [Outcome.LAPSED, Outcome.NOT_UNPAID]
    assert Stock.objects.get().pieces == 1
