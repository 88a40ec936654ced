"""Placing an order: prices, stock, bounds, idempotency."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from lapse.integrations.django import timer
from shop.catalogue.models import Product
from shop.orders.models import Hold, Order, Reservation, Status
from shop.orders.placing import Placed, Wanted, place
from shop.orders.refusals import BadOrder, KeyReused, PriceChanged, SoldOut, TooManyOpen
from tests.shop.rehearsal import assert_no_drift, make_overdue, order_of, stock_of, together, trail_of, wanted


def test_everything_is_written_at_once(buyer: User, cup: Product, pot: Product) -> None:
    """One call writes order, lines, reservations, stock, audit trail and statistics, and arms the timer."""
    order = place(buyer, [wanted(cup, 3), wanted(pot)]).order
    assert order.status == Status.AWAITING_PAYMENT
    assert order.total == Decimal("502.00")
    assert order.pay_by - order.placed_at == timedelta(minutes=30)
    assert len(order.public_id) == 32
    assert stock_of(cup) == (10, 3)
    assert stock_of(pot) == (1, 1)
    assert list(Reservation.objects.values_list("state", flat=True)) == [Hold.HELD, Hold.HELD]
    assert trail_of(order) == ["placed"]
    armed = timer()
    assert armed is not None
    assert armed.stats().pending >= 1
    armed.disarm([order.public_id])
    assert_no_drift()


def test_a_changed_price_shows_both(buyer: User, cup: Product) -> None:
    """An order at another price than the catalogue's is refused with the price seen and the price now."""
    with pytest.raises(PriceChanged) as refused:
        place(buyer, [Wanted("CUP", 1, Decimal("57.00"))])
    assert refused.value.details["changes"] == [{"sku": "CUP", "seen": "57.00", "now": "58.00"}]
    assert stock_of(cup) == (10, 0)
    assert not Order.objects.exists()


def test_sold_out_names_what_is_short_and_orders_nothing(buyer: User, cup: Product, pot: Product) -> None:
    """If one line is not available, no line is held, and the refusal says which one and how many are left."""
    with pytest.raises(SoldOut) as refused:
        place(buyer, [wanted(cup, 2), wanted(pot, 2)])
    assert refused.value.details["short"] == [{"sku": "POT", "wanted": 2, "available": 1}]
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [Wanted("CUP", 0, Decimal(58))],
        [Wanted("CUP", 1000, Decimal(58))],
        [Wanted("CUP", 1, Decimal(58)), Wanted("CUP", 1, Decimal(58))],
        [Wanted("NONE", 1, Decimal(1))],
    ],
    ids=["empty", "none of it", "too many", "a SKU twice", "unknown"],
)
def test_orders_that_make_no_sense(buyer: User, cup: Product, lines: list[Wanted]) -> None:
    """An invalid order is refused, and nothing is held."""
    with pytest.raises(BadOrder):
        place(buyer, lines)
    assert stock_of(cup) == (10, 0)


def test_only_so_many_open_orders(buyer: User, cup: Product, shop: Settings) -> None:
    """A buyer with too many unpaid orders must pay or cancel one; an overdue one does not count."""
    shop.LAPSE_OPEN_ORDERS = 2
    first = order_of(buyer, cup)
    order_of(buyer, cup)
    with pytest.raises(TooManyOpen):
        order_of(buyer, cup)
    make_overdue(first)
    order_of(buyer, cup)


def test_nothing_to_pay_is_paid_at_once(buyer: User, cup: Product) -> None:
    """An order of total zero is paid when it is placed, and never waits for a timer."""
    Product.objects.filter(pk=cup.pk).update(price=0)
    order = place(buyer, [Wanted("CUP", 2, Decimal(0))]).order
    assert order.status == Status.PAID
    assert stock_of(cup) == (8, 0)
    assert_no_drift()


def test_the_same_key_gives_the_same_order(buyer: User, rival: User, cup: Product) -> None:
    """A repeated request makes one order; other lines under its key are refused; each buyer has separate keys."""
    first = place(buyer, [wanted(cup)], idempotency_key="k")
    again = place(buyer, [wanted(cup)], idempotency_key="k")
    assert (first.new, again.new) == (True, False)
    assert first.order.pk == again.order.pk
    with pytest.raises(KeyReused):
        place(buyer, [wanted(cup, 2)], idempotency_key="k")
    assert place(rival, [wanted(cup, 2)], idempotency_key="k").new
    assert stock_of(cup) == (10, 3)


def test_the_same_key_many_at_once(buyer: User, cup: Product) -> None:
    """Requests with one key at the same moment make one order, and all of them return it."""
    results = together(*[lambda: place(buyer, [wanted(cup)], idempotency_key="once")] * 6)
    assert all(isinstance(result, Placed) for result in results), results
    assert len({result.order.pk for result in results}) == 1
    assert sum(result.new for result in results) == 1
    assert stock_of(cup) == (10, 1)
    assert_no_drift()
