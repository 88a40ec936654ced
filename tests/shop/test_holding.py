"""What one buyer may hold without paying, with fifty orders of that buyer at once; and the pause after lapses."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from lapse.integrations.django import unpaid_orders
from lapse.orders import Outcome
from shop.buyers.accounts import sign_up
from shop.catalogue.models import Product
from shop.orders.holding import limit_of_product
from shop.orders.models import UNPAID, Line, Order, Status
from shop.orders.placing import Placed, Wanted, place
from shop.orders.refusals import Paused, Refused, TooManyOfProduct, TooManyOpen, TooManyPieces
from shop.payments.development import DevelopmentGateway, pay_now
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.rehearsal import (
    PASSWORD,
    api_of,
    assert_no_drift,
    make_overdue,
    order_of,
    report_paid,
    stock_of,
    together,
    wanted,
)

AT_ONCE = 50


@pytest.fixture(autouse=True)
def many_cups(cup: Product) -> None:
    """Put so many cups on the shelf that no order lacks stock."""
    Product.objects.filter(pk=cup.pk).update(on_hand=200)
    cup.refresh_from_db()


@pytest.fixture
def holder(buyer: User, shop: Settings) -> Callable[[dict[str, int]], User]:
    """Return a function that sets limits and returns the buyer whom they limit."""

    def limited(limits: dict[str, int]) -> User:
        for name, limit in limits.items():
            setattr(shop, name, limit)
        return buyer

    return limited


def fifty(buyer: User, *lines: Wanted) -> Counter[type[Any]]:
    """Place fifty equal orders of one buyer at once, and count the results by their class."""
    return Counter(type(result) for result in together(*[lambda: place(buyer, list(lines))] * AT_ONCE))


@pytest.mark.parametrize(
    ("limits", "refusal", "pieces", "placed"),
    [
        ({"LAPSE_OPEN_ORDERS": 7}, TooManyOpen, 1, 7),
        ({"LAPSE_HELD_PIECES": 20}, TooManyPieces, 3, 6),
        ({"LAPSE_HELD_OF_PRODUCT": 10}, TooManyOfProduct, 2, 5),
        ({"LAPSE_HELD_SHARE": 6}, TooManyOfProduct, 2, 6),  # of 200 cups
    ],
    ids=["orders", "pieces", "of a product", "share of the stock"],
)
def test_fifty_orders_of_one_buyer_at_once(
    holder: Callable[[dict[str, int]], User], limits: dict[str, int], refusal: type[Refused], pieces: int, placed: int
) -> None:
    """The limit is reached and never passed, though the orders overlap; an overdue order of the buyer is not counted.

    The overdue order is lapsed first by one of the fifty, so its stock is released.
    """
    buyer = holder(limits)
    cup = Product.objects.get(sku="CUP")
    overdue = order_of(buyer, cup, pieces)
    make_overdue(overdue)
    assert fifty(buyer, wanted(cup, pieces)) == {Placed: placed, refusal: AT_ONCE - placed}
    overdue.refresh_from_db()
    assert overdue.status == Status.CANCELLED
    assert stock_of(cup) == (200, placed * pieces)
    assert_no_drift()


def test_fifty_buyers_at_once_have_a_limit_each(cup: Product, shop: Settings) -> None:
    """What one buyer holds is in no other buyer's way."""
    shop.LAPSE_OPEN_ORDERS = 1
    shop.LAPSE_HELD_PIECES = shop.LAPSE_HELD_OF_PRODUCT = 2
    buyers = [sign_up(f"buyer{number}@example.com", PASSWORD) for number in range(AT_ONCE)]
    results = together(*[lambda buyer=buyer: place(buyer, [wanted(cup, 2)]) for buyer in buyers])
    assert {type(result) for result in results} == {Placed}
    assert stock_of(cup) == (200, 2 * AT_ONCE)


def test_a_paid_or_cancelled_order_makes_room(buyer: User, cup: Product, pot: Product, shop: Settings) -> None:
    """The refusal says how much room is left, and room comes back with a payment, a cancel or the deadline."""
    shop.LAPSE_HELD_PIECES = 5
    order = order_of(buyer, cup, 4)
    with pytest.raises(TooManyPieces, match="Or order 1 at most") as refused:
        place(buyer, [wanted(cup), wanted(pot)])
    assert refused.value.details == {"held": 4, "wanted": 2, "limit": 5, "room": 1}
    payment_link(order.pk)
    assert pay_now(PaymentAttempt.objects.get().reference)
    assert order_of(buyer, cup, 5)


def test_a_hold_whose_gateway_is_silent_does_not_block_its_buyer(
    buyer: User, cup: Product, shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WooCommerce 67354: the buyer's own overdue order cannot lapse yet. It is not counted, and no one waits for it."""
    shop.LAPSE_OPEN_ORDERS = 1
    overdue = order_of(buyer, cup)
    payment_link(overdue.pk)
    make_overdue(overdue)

    def away(*_: object) -> None:
        raise ConnectionError("the gateway is away")

    monkeypatch.setattr(DevelopmentGateway, "close", away)
    order_of(buyer, cup)
    overdue.refresh_from_db()
    assert overdue.status == Status.CLOSING


def test_a_small_stock_can_be_sold_to_one_buyer(shop: Settings) -> None:
    """A share of few pieces would turn buyers away for the sake of pieces that few want."""
    shop.LAPSE_HELD_SHARE, shop.LAPSE_HELD_OF_PRODUCT = 50, 20
    assert [limit_of_product(on_hand) for on_hand in (1, 5, 10, 11, 30, 100)] == [5, 5, 5, 5, 15, 20]


def let_lapse(buyer: User, cup: Product, times: int) -> None:
    """Let so many orders of the buyer lapse."""
    orders = [order_of(buyer, cup) for _ in range(times)]
    make_overdue(*orders)
    results = unpaid_orders().lapse([order.public_id for order in orders])
    assert {result.outcome for result in results.values()} == {Outcome.LAPSED}


def pause_of(buyer: User, cup: Product) -> timedelta | None:
    """Return how long the buyer has to wait now; None: the order was placed, and is cancelled again."""
    try:
        order = order_of(buyer, cup)
    except Paused as refused:
        return timedelta(minutes=round(refused.details["retry_after"] / 60))
    unpaid_orders().cancel([order], by="buyer", reason="buyer")
    return None


def test_a_buyer_whose_orders_lapse_waits_longer_each_time(
    buyer: User, rival: User, cup: Product, shop: Settings
) -> None:
    """The first pause is the window to pay, each further lapsed order doubles it, and there is a longest one."""
    shop.LAPSE_PAUSE_MOST = timedelta(minutes=100)
    let_lapse(buyer, cup, 2)
    shop.LAPSE_PAUSE_AFTER = 3
    assert pause_of(buyer, cup) is None
    pauses = []
    for _ in range(4):
        shop.LAPSE_PAUSE_AFTER = 0
        let_lapse(buyer, cup, 1)
        shop.LAPSE_PAUSE_AFTER = 3
        pauses.append(pause_of(buyer, cup))
    assert pauses == [timedelta(minutes=minutes) for minutes in (30, 60, 100, 100)]
    assert pause_of(rival, cup) is None
    lapsed = Order.objects.filter(buyer=buyer, cancel_reason="expired")
    lapsed.update(cancelled_at=F("cancelled_at") - timedelta(minutes=101))
    assert pause_of(buyer, cup) is None, "the pause is over"
    lapsed.update(cancelled_at=Now())
    assert pause_of(buyer, cup) == timedelta(minutes=100)
    lapsed.update(cancelled_at=Now() - shop.LAPSE_PAUSE_WITHIN)
    assert pause_of(buyer, cup) is None, "it is long ago"


def test_fifty_orders_at_once_after_the_orders_that_lapse_now(buyer: User, cup: Product, shop: Settings) -> None:
    """The buyer's orders are overdue and no worker has come: they lapse first, and none of the fifty slips through."""
    make_overdue(*[order_of(buyer, cup) for _ in range(3)])
    shop.LAPSE_PAUSE_AFTER = 3
    assert fifty(buyer, wanted(cup)) == {Paused: AT_ONCE}
    assert stock_of(cup) == (200, 0)
    assert_no_drift()


def test_money_forgives(buyer: User, cup: Product, shop: Settings) -> None:
    """A payment ends the pause. An order that was paid late and refunded did not lapse for want of money."""
    let_lapse(buyer, cup, 3)
    last = order_of(buyer, cup)
    shop.LAPSE_PAUSE_AFTER = 3
    assert pause_of(buyer, cup) == timedelta(minutes=30)
    payment_link(last.pk)
    assert pay_now(PaymentAttempt.objects.get().reference)
    assert pause_of(buyer, cup) is None
    shop.LAPSE_PAUSE_AFTER = 1
    late = order_of(buyer, cup)
    payment_link(late.pk)
    number = PaymentAttempt.objects.get(order=late).reference
    make_overdue(late)
    unpaid_orders().lapse([late.public_id])
    assert pause_of(buyer, cup) == timedelta(minutes=30)
    Product.objects.update(on_hand=F("held"))
    report_paid(number)
    Product.objects.update(on_hand=200)
    assert pause_of(buyer, cup) is None


def test_an_order_that_its_buyer_cancels_is_no_lapse(buyer: User, cup: Product, shop: Settings) -> None:
    """The stock came back when the buyer said so."""
    shop.LAPSE_PAUSE_AFTER = 1
    unpaid_orders().cancel([order_of(buyer, cup)], by="buyer", reason="buyer")
    assert pause_of(buyer, cup) is None


REFUSED: dict[str, Callable[[Settings], None]] = {
    "too-many-pieces": lambda shop: setattr(shop, "LAPSE_HELD_PIECES", 3),
    "too-many-of-product": lambda shop: setattr(shop, "LAPSE_HELD_OF_PRODUCT", 3),
    "paused": lambda shop: setattr(shop, "LAPSE_PAUSE_AFTER", 1),
}
SAYS = {
    ("too-many-pieces", "en"): "You hold 2 pieces in unpaid orders, and at most 3 are possible at a time.",
    ("too-many-pieces", "zh-hans"): "未付款订单中已占用 2 件，同时最多可占用 3 件。",
    ("too-many-of-product", "en"): "or order fewer pieces.",
    ("too-many-of-product", "zh-hans"): "每种商品",
    ("paused", "en"): "1 order of yours was not paid in time. You can order again at",
    ("paused", "zh-hans"): "您有 1 个订单未按时付款。",
}


@pytest.mark.parametrize("code", REFUSED)
def test_the_refusal_says_what_to_do_and_when(buyer: User, cup: Product, shop: Settings, code: str) -> None:
    """The API has a code, values and the seconds to wait; the page says it in the visitor's language, with an offer."""
    let_lapse(buyer, cup, 1)
    order_of(buyer, cup, 2)
    REFUSED[code](shop)
    body = {"lines": [{"sku": "CUP", "quantity": 2, "unit_price": "58.00"}]}
    answer = api_of(buyer)("POST", "/orders", body)
    assert answer.status_code == (429 if code == "paused" else 409)
    assert answer.json()["code"] == code
    assert ("Retry-After" in answer.headers) == (code == "paused")
    client = Client()
    client.force_login(buyer)
    form = {"quantity-CUP": "2", "price-CUP": "58.00"}
    for language in ("en", "zh-hans"):
        page = client.post("/orders/place/", form, headers={"Accept-Language": language})
        assert page.status_code == answer.status_code
        assert f'data-refusal="{code}"' in page.content.decode()
        assert SAYS[code, language] in page.content.decode()
    assert ('name="quantity-CUP" value="1"' in page.content.decode()) == (code == "too-many-of-product")
    assert Order.objects.filter(UNPAID).count() == 1
    assert Line.objects.count() == 2
