"""Orders in the console: searched, shown with their history, cancelled by hand."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client

from shop.catalogue.models import Product
from shop.console import search
from shop.orders.models import Order, Reason
from shop.orders.transitions import cancel
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import assert_no_drift, make_overdue, order_of, report_paid, stock_of, together


@pytest.fixture
def desk(merchant: User) -> Client:
    """Return a browser in which the merchant has signed in."""
    client = Client()
    client.force_login(merchant)
    return client


@pytest.fixture
def listed(desk: Client) -> Callable[[str], list[str]]:
    """Return the ids of the orders that a query lists."""

    def look(query: str = "") -> list[str]:
        answer = desk.get(f"/console/orders/{query}")
        assert answer.status_code == 200
        return re.findall(r'data-order="(\w+)"', answer.content.decode())

    return look


def pay(order: Order) -> None:
    """Pay the order."""
    payment_link(order.pk)
    report_paid(PaymentAttempt.objects.values_list("reference", flat=True).get(order=order))


def press_cancel(desk: Client, order: Order) -> str:
    """Cancel the order and return the page that follows."""
    answer = desk.post(f"/console/orders/{order.public_id}/cancel/", follow=True)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def test_filters(listed: Callable[[str], list[str]], buyer: User, cup: Product) -> None:
    """The filters status, reason and day work alone and together, newest first; invalid values are ignored."""
    orders = [order_of(buyer, cup) for _ in range(5)]
    names = [order.public_id for order in orders]
    pay(orders[0])
    cancel(orders[1].pk, reason=Reason.BUYER, who="buyer")
    make_overdue(orders[2])
    cancel(orders[2].pk, reason=Reason.EXPIRED, who="timer")
    Order.objects.filter(pk=orders[4].pk).update(placed_at=datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC))
    assert listed("") == names[::-1]
    assert listed("?status=paid") == [names[0]]
    assert listed("?status=cancelled") == [names[2], names[1]]
    assert listed("?status=cancelled&reason=expired") == [names[2]]
    assert listed("?reason=buyer") == [names[1]]
    assert listed("?status=paid&reason=buyer") == []
    assert listed("?day=2024-02-29") == [names[4]]
    assert listed("?day=2024-03-01") == []
    for nonsense in ("?status=lost&reason=mood&day=someday", "?day=0001-01-01", "?day=9999-12-31", "?before=x&after="):
        assert listed(nonsense) == names[::-1], nonsense


def test_search(listed: Callable[[str], list[str]], buyer: User, rival: User, cup: Product) -> None:
    """The beginning of a number or of an address is enough; case and blanks do not matter."""
    mine, theirs = order_of(buyer, cup).public_id, order_of(rival, cup).public_id
    Order.objects.filter(public_id=mine).update(public_id="0" * 32)
    mine = "0" * 32
    assert listed(f"?q={mine}") == listed("?q=0000") == listed("?q=%20000%20") == [mine]
    assert listed("?q=mei@example.com") == listed("?q=MEI@ex") == listed("?q=mei") == [mine]
    assert listed("?q=rival&status=awaiting_payment") == [theirs]
    for nothing in ("?q=nobody@example.com", "?q=ab", "?q=%25%25%25", "?q=a%00b%27--", "?q=rival&status=paid"):
        assert listed(nothing) == [], nothing


def test_pages(desk: Client, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older and Newer lead through all orders and back, each order once, and keep the filter."""
    monkeypatch.setattr(search, "PAGE", 3)
    names = [order_of(buyer, cup).public_id for _ in range(7)][::-1]

    def walk(address: str, relation: str) -> list[list[str]]:
        seen = []
        while True:
            shown = unescape(desk.get(f"/console/orders/{address}").content.decode())
            seen.append(re.findall(r'data-order="(\w+)"', shown))
            link = re.search(rf'rel="{relation}" href="(\?[^"]*)"', shown)
            if link is None:
                return [*seen, [address]]
            address = link[1]
            assert "q=mei" in address

    *there, (last,) = walk("?q=mei", "next")
    assert there == [names[:3], names[3:6], names[6:]]
    *back, _ = walk(last, "prev")
    assert back == [names[6:], names[3:6], names[:3]]
    assert desk.get(f"/console/orders/?before={10**18}").status_code == 200
    assert desk.get("/console/orders/?before=99999999999999999999999").status_code == 200
    assert desk.get("/console/orders/?after=0").status_code == 200


def test_an_orders_history(desk: Client, buyer: User, cup: Product) -> None:
    """The page has the lines with their reservations, the payment attempts, and the audit trail in order."""
    order = order_of(buyer, cup, 2)
    pay(order)
    shown = desk.get(f"/console/orders/{order.public_id}/").content.decode()
    trail = re.findall(r'data-audit="([^"]+)"', shown)
    assert trail[0] == "placed"
    assert trail[-2:] == ["paid", "attempt"]
    assert "2 pieces: held → sold" in shown
    assert "awaiting payment → paid" in shown
    assert re.findall(r'data-reservation="(\w+)"', shown) == ["consumed"]
    assert re.findall(r'data-attempt="(\w+)"', shown) == ["succeeded"]
    assert PaymentAttempt.objects.get().reference in shown
    assert buyer.email in shown
    assert "data-cancel>" not in shown
    assert desk.get("/console/orders/nothing-here/").status_code == 404
    assert desk.post("/console/orders/nothing-here/cancel/").status_code == 404


def test_looking_does_not_lapse(desk: Client, buyer: User, cup: Product) -> None:
    """The console shows an overdue order as it is: overdue."""
    order = order_of(buyer, cup)
    make_overdue(order)
    assert "data-overdue" in desk.get(f"/console/orders/{order.public_id}/").content.decode()
    assert "data-overdue" in desk.get("/console/orders/").content.decode()
    assert Order.objects.get().status == "awaiting_payment"


def test_cancel_by_hand(desk: Client, merchant: User, buyer: User, cup: Product) -> None:
    """The stock is released, the audit trail names the merchant, and a second cancel changes nothing."""
    order = order_of(buyer, cup, 4)
    payment_link(order.pk)
    assert "Yes, cancel the order" in desk.get(f"/console/orders/{order.public_id}/").content.decode()
    shown = press_cancel(desk, order)
    assert "The order is cancelled and its stock is released." in shown
    assert 'data-status="cancelled" data-cancel-reason="merchant"' in shown
    assert stock_of(cup) == (10, 0)
    cancelled = order.audit_trail.filter(what="cancelled")
    assert list(cancelled.values_list("reason", "actor", "actor_id")) == [("merchant", "merchant", str(merchant.pk))]
    press_cancel(desk, order)
    assert order.audit_trail.filter(what="cancelled").count() == 1
    assert_no_drift()


def test_a_paid_order_is_not_cancelled(desk: Client, buyer: User, cup: Product) -> None:
    """If the payment came first, nothing changes, and the page says why."""
    order = order_of(buyer, cup)
    pay(order)
    assert "This order is paid. Nothing was changed." in press_cancel(desk, order)
    assert Order.objects.get().status == "paid"


def test_one_that_the_buyer_cancelled_keeps_its_reason(desk: Client, buyer: User, cup: Product) -> None:
    """The first transition wins."""
    order = order_of(buyer, cup)
    cancel(order.pk, reason=Reason.BUYER, who="buyer")
    assert "The order was already cancelled" in press_cancel(desk, order)
    assert Order.objects.get().cancel_reason == "buyer"


def test_one_that_is_overdue_expires(desk: Client, buyer: User, cup: Product) -> None:
    """The deadline was over before the merchant cancelled, so the reason is that the order expired."""
    order = order_of(buyer, cup)
    make_overdue(order)
    assert "The order was already cancelled" in press_cancel(desk, order)
    assert Order.objects.get().cancel_reason == "expired"
    assert_no_drift()


def test_the_timer_the_buyer_and_the_merchant_at_once(desk: Client, buyer: User, cup: Product) -> None:
    """One of them wins, the stock is released once, and the merchant sees which one won."""
    for _ in range(5):
        order = order_of(buyer, cup, 3)
        Order.objects.filter(pk=order.pk).update(pay_by=Now() + timedelta(seconds=1))
        heard = together(
            lambda order=order: press_cancel(desk, order),  # type: ignore[misc]  # the loop's own order
            lambda order=order: cancel(order.pk, reason=Reason.BUYER, who="buyer"),  # type: ignore[misc]  # as above
        )
        assert isinstance(heard[0], str), heard
        assert "cancelled" in heard[0]
        assert order.audit_trail.filter(what="cancelled").count() == 1
        assert stock_of(cup) == (10, 0)
    assert_no_drift()
