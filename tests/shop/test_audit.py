"""Statistics and stock are exactly right after many mixed operations, and the audit finds what is broken."""

import json
import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import Settings

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import Settled
from shop.catalogue.models import Product
from shop.orders.models import AuditEntry, Hold, Order, Reason, Reservation, Status
from shop.orders.transitions import cancel
from shop.payments.development import pay_now
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from shop.statistics.books_check import CHECKS, audit
from shop.statistics.models import Refund, Tally
from tests.shop.rehearsal import (
    assert_no_drift,
    make_overdue,
    order_of,
    reconcile,
    report_paid,
    stock_of,
    together,
)

FATES = (
    "waits",
    "paid",
    "paid, paid",
    "buyer",
    "merchant",
    "expired",
    "link, expired",
    "link, expired, paid",
    "link, expired, paid, refunded 5",
    "link, buyer, paid",
    "link, merchant, refunded 3, paid",
    "paid, refunded 5, refunded 20",
    "paid, refunded 1000, paid",
)
"""What becomes of an order: the timer, people, the gateway's reports and what was refunded at its console."""


def do_anything(buyer: User, product: Product, seed: int) -> None:
    """Place an order for each fate, in a random order."""
    chance = random.Random(seed)  # noqa: S311  # a repeatable mix, no secret
    for fate in chance.sample(FATES, len(FATES)):
        order = order_of(buyer, product, chance.randint(1, 3))
        number = link_of(order) if "paid" in fate or "link" in fate else ""
        for event in fate.split(", "):
            if event == "paid":
                report_paid(number, provider_reference=number)
            elif event.startswith("refunded"):
                report_paid(number, provider_reference=number, refunded=Decimal(event.split()[1]))
            elif event in ("buyer", "merchant"):
                cancel(order.pk, reason=Reason(event), who=event)
            elif event == "expired":
                make_overdue(order)
                unpaid_orders().lapse_overdue()


def link_of(order: Order) -> str:
    """Open an attempt to pay the order, and return its number."""
    payment_link(order.pk)
    return PaymentAttempt.objects.values_list("reference", flat=True).get(order=order)


def test_after_a_random_mix_everything_adds_up(buyer: User, rival: User, cup: Product, shop: Settings) -> None:
    """Four threads work at once; afterwards stock, statistics and audit trail agree exactly."""
    shop.LAPSE_OPEN_ORDERS = 100
    Product.objects.update(on_hand=1000)
    results = together(
        *[lambda seed=seed: do_anything((buyer, rival)[seed % 2], cup, seed) for seed in range(4)],
    )
    assert results == [None] * 4
    assert Order.objects.count() == 4 * len(FATES)
    assert Tally.objects.get(event="placed").count == 4 * len(FATES)
    assert_no_drift()
    assert reconcile()[Settled.REFUNDED] == len(PaymentAttempt.objects.filter(refunding__isnull=False))
    assert not PaymentAttempt.objects.filter(state=State.REFUND_DUE).exists()
    assert_no_drift()
    # Not those that have lapsed: a deadline that is moved to after that would make it look early.
    make_overdue(*Order.objects.filter(status=Status.AWAITING_PAYMENT))
    unpaid_orders().lapse_overdue()
    assert stock_of(cup)[1] == 0
    assert_no_drift()


def attempt_beside(**values: Any) -> PaymentAttempt:
    """Write a second attempt of the only order by hand."""
    facts = {"reference": "beside", "gateway": "development", "amount": 58, "state": State.CLOSED}
    return PaymentAttempt.objects.create(order=Order.objects.get(), **facts | values)


attempts = PaymentAttempt.objects
MONEY = {"amount": 58, "paid": 58}
LONG_AGO = Now() - timedelta(minutes=2)

BREAKS: dict[tuple[str, str], Callable[[], Any]] = {
    ("held", ""): lambda: Product.objects.update(held=F("held") + 1),
    ("statistics", ""): lambda: Tally.objects.filter(event="placed").update(amount=F("amount") + 1),
    ("holds", ""): lambda: Reservation.objects.update(state=Hold.RELEASED),
    ("totals", ""): lambda: Order.objects.update(total=F("total") + 1),
    ("overdue", ""): lambda: Order.objects.update(status="closing", pay_by=F("placed_at") - timedelta(minutes=2)),
    ("early", ""): lambda: Order.objects.update(
        status="cancelled", cancel_reason="expired", cancelled_at=F("pay_by") - timedelta(seconds=1)
    ),
    ("audit_trail", ""): lambda: AuditEntry.record([Order.objects.get()], "paid", "merchant 2"),
    ("audit_trail", "an entry is missing"): lambda: AuditEntry.objects.filter(what="placed").delete(),
    ("audit_trail", "the last entry is of another state"): lambda: Order.objects.update(status="closing"),
    ("audit_attempts", "an entry is missing"): lambda: AuditEntry.objects.filter(after=State.PENDING).delete(),
    ("audit_attempts", "the last entry is of another state"): lambda: attempts.update(state=State.CLOSED),
    ("audit_attempts", "a refund is missing"): lambda: attempts.update(refunded=8),
    ("payments", "of a paid order are gone"): lambda: attempts.all().delete(),
    ("payments", "are less than the total"): lambda: attempts.update(paid=50),
    ("payments", "were refunded, and no refund was counted"): lambda: attempts.update(refunded=8),
    ("payments", "were not refunded, and a refund was counted"): lambda: Refund.objects.create(
        order=Order.objects.get(), reference="one", amount=8, at=Now()
    ),
    ("payments", "are of an order that is not paid"): lambda: Order.objects.update(status="awaiting_payment"),
    ("payments", "are two for one order"): lambda: attempt_beside(**MONEY, state=State.SUCCEEDED),
    ("attempts", "a closed attempt has money"): lambda: attempt_beside(**MONEY),
    ("attempts", "an attempt is refunded, and has money"): lambda: attempt_beside(**MONEY, state=State.REFUNDED),
    ("attempts", "a refund is due, and nothing was paid"): lambda: attempt_beside(state=State.REFUND_DUE),
    ("attempts", "all went back, and a refund is due"): lambda: attempt_beside(
        **MONEY, refunded=58, state=State.REFUND_DUE
    ),
    ("attempts", "more went back than came"): lambda: attempt_beside(**MONEY, refunded=59, state=State.REFUNDED),
    ("attempts", "something went back, and nothing came"): lambda: attempt_beside(refunded=1),
    ("open_attempts", ""): lambda: (
        attempt_beside(state=State.UNKNOWN),
        attempts.update(made_at=LONG_AGO),
        Order.objects.update(paid_at=LONG_AGO),
    ),
    ("asked", "a refund is due"): lambda: attempt_beside(**MONEY, state=State.REFUND_DUE, ask_at=None),
    ("asked", "a person must decide"): lambda: attempt_beside(**MONEY, state=State.REVIEW, ask_at=None),
    ("asked", "an attempt is open"): lambda: attempt_beside(state=State.PENDING, ask_at=None),
    ("numbers", ""): lambda: attempt_beside(provider_reference=attempts.get().provider_reference),
}
"""By the check, and what is broken for it in a shop with one paid order."""


@pytest.mark.parametrize(("check", "broken"), BREAKS)
def test_the_audit_finds_what_is_broken(buyer: User, cup: Product, check: str, broken: str) -> None:
    """Each check finds the row that was broken for it."""
    assert pay_now(link_of(order_of(buyer, cup)))
    assert_no_drift()
    BREAKS[check, broken]()
    found = [drift for drift in audit(grace=timedelta(minutes=1)) if drift.check == check]
    assert len(found) == 1, found


def test_every_check_was_broken() -> None:
    """No check is without a row that breaks it."""
    assert {check for check, _ in BREAKS} == set(CHECKS)


def test_an_open_attempt_of_an_ended_order_has_a_moment(buyer: User, cup: Product) -> None:
    """The other attempt is closed by the reconciler, which needs a moment; the audit is silent for as long as that."""
    assert pay_now(link_of(order_of(buyer, cup)))
    attempt_beside(state=State.PENDING)
    assert_no_drift()
    assert [drift.check for drift in audit(grace=timedelta())] == ["open_attempts"]


def test_an_order_that_costs_nothing_needs_no_payment(buyer: User, cup: Product) -> None:
    """It is paid without a gateway."""
    Product.objects.update(price=0)
    cup.refresh_from_db()
    assert order_of(buyer, cup).status == Status.PAID
    assert_no_drift()


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
