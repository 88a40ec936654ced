"""Refunds and reinstatements in the figures: each on its own day, and a past day never changes."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F
from django.test import Client

from lapse.integrations.django import unpaid_orders
from lapse.orders import Settled
from shop.catalogue.models import Product
from shop.orders.models import Order, Reason
from shop.orders.transitions import cancel
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from shop.statistics.corrections import record_refund
from shop.statistics.models import Refund, Tally
from tests.shop.rehearsal import Api, api_of, assert_no_drift, make_overdue, order_of, reconcile, report_paid

YESTERDAY = timedelta(days=1)


@pytest.fixture
def api(merchant: User) -> Api:
    """Return the merchant's API."""
    return api_of(merchant)


def link_of(order: Order) -> str:
    """Open an attempt to pay the order, and return its number."""
    payment_link(order.pk)
    return PaymentAttempt.objects.values_list("reference", flat=True).get(order=order)


def lapse(order: Order) -> None:
    """Let the order expire."""
    make_overdue(order)
    unpaid_orders().lapse_overdue()
    order.refresh_from_db()
    assert order.status == "cancelled"


def as_if_yesterday(order: Order) -> None:
    """Move what has happened to the order, and the figures of today, a day into the past."""
    Order.objects.filter(pk=order.pk).update(
        placed_at=F("placed_at") - YESTERDAY,
        pay_by=F("pay_by") - YESTERDAY,
        paid_at=F("paid_at") - YESTERDAY,
        cancelled_at=F("cancelled_at") - YESTERDAY,
    )
    Tally.objects.update(day=F("day") - YESTERDAY)


def figures(day: dict[str, object]) -> dict[str, object]:
    """Return the day's sums that are not 0, as (count, amount)."""
    sums = {**day, **day["cancelled"]}  # type: ignore[dict-item]  # the cancels by their reason
    return {
        event: (one["count"], one["amount"])
        for event, one in sums.items()
        if isinstance(one, dict) and one.get("count")
    }


def test_a_reinstated_order_leaves_the_day_of_its_cancel_as_it_was(api: Api, buyer: User, cup: Product) -> None:
    """Cancelled yesterday, reinstated today: yesterday stays, today has the reinstatement and the payment."""
    order = order_of(buyer, cup)
    number = link_of(order)
    lapse(order)
    as_if_yesterday(order)
    before = api("GET", "/statistics").json()[1]
    assert figures(before) == {"placed": (1, "58.00"), "expired": (1, "58.00")}
    assert report_paid(number, provider_reference="1") == Settled.REINSTATED
    today, yesterday = api("GET", "/statistics").json()[:2]
    assert yesterday == before
    assert figures(today) == {"reinstated": (1, "58.00"), "paid": (1, "58.00")}
    assert_no_drift()


def test_each_part_of_a_refund_counts_on_its_own_day(api: Api, buyer: User, cup: Product) -> None:
    """Three parts on two days: the day of the payment stays, the order stays paid, and a repeat counts nothing."""
    order = order_of(buyer, cup)
    number = link_of(order)
    report_paid(number)
    report_paid(number, refunded=Decimal(8))
    as_if_yesterday(order)
    Refund.objects.update(at=F("at") - YESTERDAY)
    before = api("GET", "/statistics").json()[1]
    assert figures(before) == {"placed": (1, "58.00"), "paid": (1, "58.00"), "refunded": (1, "8.00")}
    for refunded in (28, 28, 8, 58, 58):
        report_paid(number, refunded=Decimal(refunded))
    today, yesterday = api("GET", "/statistics").json()[:2]
    assert yesterday == before
    assert figures(today) == {"refunded": (2, "50.00")}
    assert_no_drift()


def test_money_that_paid_no_order_is_not_counted(api: Api, buyer: User, cup: Product) -> None:
    """The buyer cancelled and paid all the same: the money goes back, and no figure has ever had it."""
    order = order_of(buyer, cup)
    number = link_of(order)
    cancel(order.pk, reason=Reason.BUYER, who="buyer")
    assert report_paid(number) == Settled.REFUND_DUE
    assert reconcile()[Settled.REFUNDED] == 1
    assert figures(api("GET", "/statistics").json()[0]) == {"placed": (1, "58.00"), "buyer": (1, "58.00")}
    assert_no_drift()


def test_a_refund_of_nothing_is_refused(buyer: User, cup: Product) -> None:
    """The database refuses it, so the number of refunds is the number of times that money went back."""
    order = order_of(buyer, cup)
    with pytest.raises(IntegrityError), transaction.atomic():
        record_refund(order.pk, reference="one", amount=Decimal(0))
    assert_no_drift()


def test_the_chart_of_hours_keeps_the_cancel_of_a_reinstated_order(merchant: User, buyer: User, cup: Product) -> None:
    """The day's chart and the day's figures have the same number of expired orders."""
    order = order_of(buyer, cup)
    number = link_of(order)
    lapse(order)
    report_paid(number)
    client = Client()
    client.force_login(merchant)
    shown = client.get("/console/").content.decode()
    assert "1 placed, 1 paid, 1 expired" in shown
    assert 'data-event="expired" data-count="1"' in shown
    assert 'data-event="reinstated" data-count="1"' in shown
