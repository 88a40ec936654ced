"""`manage.py audit --fix`: what is derived is written again from the rows, and nothing else is ever changed."""

import json
import threading
from datetime import date
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F
from pytest_django import Settings

from lapse.orders import Settled
from shop.catalogue.models import Product
from shop.orders.models import AuditEntry, Line, Order, Reservation
from shop.payments.development import pay_now
from shop.payments.models import PaymentAttempt
from shop.statistics.books_fix import FIXES, fix
from shop.statistics.models import Refund, Reinstatement, Tally
from tests.django.adopter.threads import PATIENCE, a_row_is_waited_for, in_thread, wait_until
from tests.shop.rehearsal import assert_no_drift, order_of, report_paid, stock_of, together
from tests.shop.test_audit import do_anything, link_of

TRUTH = (Order, Line, Reservation, AuditEntry, PaymentAttempt, Refund, Reinstatement)
"""The tables that no fix may change."""


def command(*options: str) -> tuple[str, str]:
    """Run the command. Return what it printed, and the sentence with which it failed, or ""."""
    out = StringIO()
    try:
        call_command("audit", *options, stdout=out)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


def truth() -> list[Any]:
    """Return every row that no fix may change."""
    return [list(model.objects.order_by("pk").values()) for model in TRUTH]


def break_what_is_derived() -> None:
    """Change each derived value: a wrong sum, a tally that is lost, and a tally of a day without orders."""
    Product.objects.update(held=F("held") + 3)
    Tally.objects.filter(event="placed").update(count=F("count") + 1, amount=F("amount") - 1)
    Tally.objects.filter(event="paid").delete()
    Tally.objects.create(day=date(2020, 2, 29), event="buyer", count=2, amount=5)


def test_what_is_derived_is_written_again(buyer: User, cup: Product) -> None:
    """The command says what was, and what is. Afterwards nothing has drifted, and a second run changes nothing."""
    pay_now(link_of(order_of(buyer, cup)))
    order_of(buyer, cup, 2)
    break_what_is_derived()
    before = truth()
    out, failed = command()
    assert "DRIFT" in out
    assert "audit --fix" in failed
    out, failed = command("--fix")
    assert failed == ""
    today = Order.objects.earliest("pk").placed_at.date()
    assert out.splitlines()[:4] == [
        "FIXED held of CUP: was 5, is 2",
        "FIXED statistics of 2020-02-29 buyer: was 2 worth 5.00, is 0 worth 0",
        f"FIXED statistics of {today} paid: was 0 worth 0, is 1 worth 58.00",
        f"FIXED statistics of {today} placed: was 3 worth 173.00, is 2 worth 174.00",
    ]
    assert "DRIFT" not in out
    assert stock_of(cup) == (9, 2)
    assert not Tally.objects.filter(day=date(2020, 2, 29)).exists()
    assert truth() == before
    assert_no_drift()
    assert "FIXED" not in command("--fix")[0]


def test_orders_and_money_are_never_changed(buyer: User, cup: Product) -> None:
    """What is derived is fixed. The rest is still reported, and a sentence names what a person must look at."""
    pay_now(link_of(order_of(buyer, cup)))
    PaymentAttempt.objects.update(paid=50)
    AuditEntry.record([Order.objects.get()], "paid", "merchant 2")
    Product.objects.update(held=4)
    before = truth()
    out, failed = command("--fix", "--json")
    report = json.loads(out)
    assert not report["ok"]
    assert report["fixed"] == [{"check": "held", "subject": "CUP", "found": "4", "expected": "0"}]
    assert {drift["check"] for drift in report["drift"]} == {"audit_trail", "payments"}
    assert failed.endswith("so a person must look at: audit_trail, payments.")
    assert truth() == before


def test_more_is_held_than_is_on_hand(buyer: User, cup: Product, pot: Product) -> None:
    """The database refuses such a row, so the command says what to do first; the other products are fixed."""
    order_of(buyer, cup, 8)
    order_of(buyer, pot)
    Product.objects.filter(sku="CUP").update(on_hand=5, held=5)
    Product.objects.filter(sku="POT").update(held=0)
    out, failed = command("--fix")
    assert "FIXED held of POT: was 0, is 1" in out
    assert "CUP: found 5, expected 8" in out
    assert "add the missing pieces" in failed
    Product.objects.filter(sku="CUP").update(on_hand=10)
    assert command("--fix")[1] == ""
    assert stock_of(cup) == (10, 8)


@pytest.mark.parametrize("check", FIXES)
def test_a_sale_that_has_not_committed_is_waited_for(buyer: User, cup: Product, check: str) -> None:
    """The fix begins between a payment's statements and its commit. It counts the payment once, and no piece twice."""
    order_of(buyer, cup, 2)
    order = order_of(buyer, cup)
    number = link_of(order)
    break_what_is_derived()
    with transaction.atomic():
        assert report_paid(number) is Settled.PAID
        fixed = in_thread(lambda: fix([check]))
        wait_until(a_row_is_waited_for)
    assert fixed.result(PATIENCE)
    fix(set(FIXES) - {check})
    assert stock_of(cup) == (9, 2)
    assert_no_drift()


def test_a_shop_at_work_stays_right_while_it_is_fixed(buyer: User, rival: User, cup: Product, shop: Settings) -> None:
    """Values are broken and fixed again and again while orders are placed, paid, cancelled and refunded."""
    shop.LAPSE_OPEN_ORDERS = 100
    Product.objects.update(on_hand=1000)
    over = threading.Event()

    def sell(who: User, seed: int) -> None:
        do_anything(who, cup, seed)

    def repair() -> int:
        fixed = 0
        while not over.wait(0.02):
            break_what_is_derived_again()
            fixed += len(fix(FIXES))
        return fixed

    def sell_all() -> None:
        try:
            assert together(lambda: sell(buyer, 1), lambda: sell(rival, 2)) == [None] * 2
        finally:
            over.set()

    sold, fixed = together(sell_all, repair)
    assert sold is None
    assert fixed > 0
    fix(FIXES)
    assert_no_drift()


def break_what_is_derived_again() -> None:
    """Change derived values of a shop at work, but never so that a sale fails for it."""
    Product.objects.update(held=F("held") + 1)
    Tally.objects.update(count=F("count") + 1)
