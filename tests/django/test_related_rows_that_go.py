"""Related rows that are deleted, missing, or lead to one of several parents: no order is lost, none lapses wrongly."""

import threading
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from lapse.integrations.django import UnpaidOrders
from lapse.integrations.django.rows.condition import reads_of
from lapse.orders import Outcome
from tests.django.adopter.threads import PATIENCE, in_thread, wait_until
from tests.django.databases import ALIAS
from tests.django.racing import a_transaction_waits, payer_first
from tests.django.wirings.models import Bill, BillLine


class Named(models.Model):
    """A parent with a key of its own name."""

    named_id = models.BigAutoField(primary_key=True)
    pay_by = models.DateTimeField(db_index=True)

    class Meta:
        """The application of the other models."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"named {self.pk}"


class Shipped(models.Model):
    """A second parent, with keys that have nothing to do with the first one's."""

    shipped_id = models.BigAutoField(primary_key=True)
    status = models.CharField(max_length=20, default="awaiting")

    class Meta:
        """The application of the other models."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"shipped {self.pk}"


class TwoParents(Named, Shipped):
    """An order in three tables."""

    class Meta:
        """The application of the other models."""

        app_label = "wirings"


class Money(models.Model):
    """What is open of the second parent."""

    shipped = models.ForeignKey(Shipped, models.CASCADE, related_name="money")
    state = models.CharField(max_length=20, default="open")

    class Meta:
        """The application of the other models."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"money {self.pk}"


class Unchecked(models.Model):
    """An order whose foreign key the database does not check."""

    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(db_index=True)
    money = models.ForeignKey(Money, models.DO_NOTHING, null=True, db_constraint=False, related_name="unchecked")

    class Meta:
        """The application of the other models."""

        app_label = "wirings"

    def __str__(self) -> str:
        return f"unchecked {self.pk}"


class Lined(UnpaidOrders[Any]):
    """A bill is unpaid as long as a line is pending."""

    model: ClassVar[type[Any]] = Bill
    unpaid = Q(status="awaiting", lines__status="pending")
    deadline = "pay_by"
    lock = ("lines",)
    lapsed: ClassVar[Any] = {"status": "cancelled"}

    def on_lapse(self, orders: object) -> None:
        """Keep no stock."""


class Monied(Lined):
    """An order of several parents is unpaid as long as money is open."""

    model = TwoParents
    unpaid = Q(status="awaiting", money__state="open")
    lock = ("money",)


class Uncheckeds(Lined):
    """An order is unpaid unless its money is paid, also if there is none."""

    model = Unchecked
    unpaid = Q(status="awaiting") & ~Q(money__state="paid")
    lock = ("money",)
    writers_lock = "self"


PAST = timedelta(minutes=1)


@pytest.mark.usefixtures("locking")
def test_a_line_that_is_deleted_while_hold_waits_for_it() -> None:
    """The order is still unpaid by its other line."""
    bill = Bill.objects.create(pay_by=timezone.now() - PAST)
    gone, _ = BillLine.objects.create(bill=bill), BillLine.objects.create(bill=bill)
    deleted, done = threading.Event(), threading.Event()

    def delete() -> None:
        with transaction.atomic(using=ALIAS):
            gone.delete()
            deleted.set()
            assert done.wait(PATIENCE)

    def pay() -> None:
        with Lined().hold(bill) as held:
            held.status = "paid"
            held.save()

    deleter = in_thread(delete)
    assert deleted.wait(PATIENCE)
    assert Lined().lapse([str(bill.pk)])[str(bill.pk)].outcome is Outcome.LOCKED
    payer = in_thread(pay)
    try:
        wait_until(lambda: a_transaction_waits() or payer.done())
    finally:
        done.set()
    deleter.result(PATIENCE)
    payer.result(PATIENCE)
    assert Bill.objects.get().status == "paid"


@pytest.mark.usefixtures("locking")
def test_rows_of_another_parent_are_those_that_are_locked() -> None:
    """The parent's key is another number than the order's."""
    Shipped(shipped_id=7).save()
    order = TwoParents(pay_by=timezone.now() - PAST, shipped_id=8)
    order.save()
    money = Money(shipped_id=8)
    money.save()
    assert order.pk != 8
    pay = partial(Money._base_manager.filter(pk=money.pk).update, state="paid")
    assert payer_first(Monied(), str(order.pk), pay) == (Outcome.LOCKED, Outcome.NOT_UNPAID)


@pytest.mark.usefixtures("locking")
def test_an_order_that_refers_to_no_row_lapses() -> None:
    """It has no related row that another transaction could have locked."""
    order = Unchecked(pay_by=timezone.now() - PAST, money_id=77)
    order.save()
    assert Uncheckeds().lapse([str(order.pk)])[str(order.pk)].outcome is Outcome.LAPSED


def test_without_a_constraint_a_row_may_be_added_while_the_other_is_locked() -> None:
    """Then each writer has to lock a row that exists."""
    assert reads_of(Unchecked, Q(money__state="open")).related == {"money"}
    assert reads_of(Unchecked, ~Q(money__state="paid")).absent == {"money__state"}
    assert reads_of(Money, Q(unchecked__status="awaiting")).absent == {"unchecked__status"}
