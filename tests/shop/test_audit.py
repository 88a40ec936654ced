"""Statistics and stock are exactly right after many mixed operations, and the audit finds what is broken."""

import json
import random
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import F
from pytest_django import Settings

from lapse.integrations.django import unpaid_orders
from shop.catalogue.models import Product
from shop.orders.models import Hold, Order, Reason, Reservation, Status
from shop.orders.transitions import cancel
from shop.payments.development import pay_now
from shop.payments.links import payment_link
from shop.statistics.books_check import audit
from shop.statistics.models import Tally
from tests.shop.rehearsal import assert_no_drift, make_overdue, order_of, stock_of, together


def do_anything(buyer: User, product: Product, seed: int) -> None:
    """Place five orders, and pay, cancel, lapse or leave each of them."""
    chance = random.Random(seed)  # noqa: S311  # a repeatable mix, no secret
    for _ in range(5):
        order = order_of(buyer, product, chance.randint(1, 3))
        fate = chance.choice(["pay", "buyer", "merchant", "expire", "wait", "link and expire"])
        if "link" in fate or fate == "pay":
            number = payment_link(order.pk).strip("/").rsplit("/", 1)[-1]
        if fate == "pay":
            assert pay_now(number)
        elif fate in ("buyer", "merchant"):
            cancel(order.pk, reason=Reason(fate), who=fate)
        elif "expire" in fate:
            make_overdue(order)
            unpaid_orders().lapse_overdue()


def test_after_a_random_mix_everything_adds_up(buyer: User, rival: User, cup: Product, shop: Settings) -> None:
    """Four threads work at once; afterwards stock, statistics and audit trail agree exactly."""
    shop.LAPSE_OPEN_ORDERS = 100
    Product.objects.update(on_hand=1000)
    results = together(
        *[lambda seed=seed: do_anything((buyer, rival)[seed % 2], cup, seed) for seed in range(4)],
    )
    assert results == [None] * 4
    assert Order.objects.count() == 20
    assert Tally.objects.get(event="placed").count == 20
    assert_no_drift()
    # Not those that have lapsed: a deadline that is moved to after that would make it look early.
    make_overdue(*Order.objects.filter(status=Status.AWAITING_PAYMENT))
    unpaid_orders().lapse_overdue()
    assert stock_of(cup)[1] == 0
    assert_no_drift()


BREAKS: dict[str, Callable[[], Any]] = {
    "held": lambda: Product.objects.update(held=F("held") + 1),
    "statistics": lambda: Tally.objects.filter(event="placed").update(amount=F("amount") + 1),
    "holds": lambda: Reservation.objects.update(state=Hold.CONSUMED),
    "totals": lambda: Order.objects.update(total=F("total") + 1),
    "overdue": lambda: Order.objects.update(pay_by=F("placed_at") - timedelta(minutes=2)),
    "early": lambda: Order.objects.update(
        status="cancelled", cancel_reason="expired", cancelled_at=F("pay_by") - timedelta(seconds=1)
    ),
    "audit_trail": lambda: Order.objects.get().audit_trail.create(what="paid", who="nobody"),
}


@pytest.mark.parametrize("check", BREAKS)
def test_the_audit_finds_what_is_broken(buyer: User, cup: Product, check: str) -> None:
    """Each check finds the row that was broken for it."""
    order_of(buyer, cup)
    assert_no_drift()
    BREAKS[check]()
    assert check in {drift.check for drift in audit(grace=timedelta(minutes=1))}


def test_the_command_tells_and_fails(buyer: User, cup: Product) -> None:
    """`manage.py audit` ends with 0 if everything agrees, and with an error that names the drift if not."""
    order_of(buyer, cup)
    out = StringIO()
    call_command("audit", stdout=out)
    assert "DRIFT" not in out.getvalue()
    Product.objects.update(held=5)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("audit", "--json", stdout=out)
    report = json.loads(out.getvalue())
    assert not report["ok"]
    assert report["drift"] == [{"check": "held", "subject": "CUP", "found": "5", "expected": "1"}]
