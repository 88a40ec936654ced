"""Refunds and reinstatements in the figures: each on its own day, and a past day never changes."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F
from django.test import Client

from shop.catalogue.models import Product
from shop.orders import stock
from shop.orders.models import Order, Reason, Reservation, Status
from shop.orders.transitions import cancel, pay
from shop.statistics.corrections import record_refund, record_reinstatement
from shop.statistics.models import Refund, Tally
from tests.shop.rehearsal import Api, api_of, assert_no_drift, order_of

PRICE = Decimal("58.00")
YESTERDAY = timedelta(days=1)


@pytest.fixture
def api(merchant: User) -> Api:
    """Return the merchant's API."""
    return api_of(merchant)


@transaction.atomic
def reinstate(order: Order) -> None:
    """Do what a shop does with money that came after the cancel, while the stock is still there."""
    order = Order.objects.select_for_update().get(pk=order.pk)
    found = stock.reserve({line.product.sku: line.quantity for line in order.lines.select_related("product")})
    assert all(one.held for one in found.values())
    Reservation.objects.bulk_create(Reservation(line=line) for line in order.lines.all())
    assert order.cancelled_at is not None
    record_reinstatement(order.pk, total=order.total, reason=order.cancel_reason, cancelled_at=order.cancelled_at)
    Order.objects.filter(pk=order.pk).update(status=Status.AWAITING_PAYMENT, cancelled_at=None, cancel_reason="")
    order.refresh_from_db()
    assert pay(order, who="gateway test")


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
    cancel(order.pk, reason=Reason.BUYER, who="buyer")
    as_if_yesterday(order)
    before = api("GET", "/statistics").json()[1]
    assert figures(before) == {"placed": (1, "58.00"), "buyer": (1, "58.00")}
    reinstate(order)
    today, yesterday = api("GET", "/statistics").json()[:2]
    assert yesterday == before
    assert figures(today) == {"reinstated": (1, "58.00"), "paid": (1, "58.00")}
    assert_no_drift()


def test_each_part_of_a_refund_counts_on_its_own_day(api: Api, buyer: User, cup: Product) -> None:
    """Two parts on two days: the day of the payment stays, and the order stays counted as paid."""
    order = order_of(buyer, cup)
    with transaction.atomic():
        pay(Order.objects.get(), who="gateway test")
        record_refund(order.pk, reference="one", amount=Decimal("8.00"))
    as_if_yesterday(order)
    Refund.objects.update(at=F("at") - YESTERDAY)
    before = api("GET", "/statistics").json()[1]
    assert figures(before) == {"placed": (1, "58.00"), "paid": (1, "58.00"), "refunded": (1, "8.00")}
    with transaction.atomic():
        record_refund(order.pk, reference="one", amount=Decimal("20.00"))
        record_refund(order.pk, reference="one", amount=Decimal("30.00"))
    today, yesterday = api("GET", "/statistics").json()[:2]
    assert yesterday == before
    assert figures(today) == {"refunded": (2, "50.00")}
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
    cancel(order.pk, reason=Reason.EXPIRED, who="timer")
    reinstate(order)
    client = Client()
    client.force_login(merchant)
    shown = client.get("/console/").content.decode()
    assert "1 placed, 1 paid, 1 expired" in shown
    assert 'data-event="expired" data-count="1"' in shown
    assert 'data-event="reinstated" data-count="1"' in shown
