"""The shop never oversells, and an overdue hold never turns a buyer away."""

import threading

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from lapse.integrations.django import unpaid_orders
from lapse.orders import OrderBatch
from lapse.orders.gateway import Attempt, Ruling, Verdict
from shop.buyers.accounts import sign_up
from shop.catalogue.models import Product
from shop.orders.models import Order, Status
from shop.orders.placing import Placed, place
from shop.orders.refusals import SoldOut
from shop.orders.stock import on_sale
from shop.payments.development import DevelopmentGateway
from shop.payments.links import payment_link
from tests.shop.rehearsal import PASSWORD, assert_no_drift, make_overdue, order_of, stock_of, together, wanted


def test_the_last_one_has_one_winner(pot: Product) -> None:
    """Many buyers want the last pot at the same moment: one gets it, the others see that it is sold out."""
    buyers = [sign_up(f"buyer{number}@example.com", PASSWORD) for number in range(8)]
    results = together(*[lambda buyer=buyer: place(buyer, [wanted(pot)]) for buyer in buyers])
    assert sum(isinstance(result, Placed) for result in results) == 1, results
    assert sum(isinstance(result, SoldOut) for result in results) == 7, results
    assert stock_of(pot) == (1, 1)
    assert_no_drift()


def test_baskets_in_opposite_order_do_not_deadlock(cup: Product, pot: Product) -> None:
    """Orders with the same products in opposite order, at the same moment, all succeed."""
    Product.objects.update(on_hand=100)
    buyers = [sign_up(f"buyer{number}@example.com", PASSWORD) for number in range(6)]
    baskets = [[wanted(cup), wanted(pot)], [wanted(pot), wanted(cup)]]

    def shop_five_times(buyer: User, number: int) -> int:
        return sum(place(buyer, baskets[(number + turn) % 2]).new for turn in range(5))

    results = together(
        *[lambda buyer=buyer, number=number: shop_five_times(buyer, number) for number, buyer in enumerate(buyers)]
    )
    assert results == [5] * 6
    assert stock_of(cup) == (100, 30)
    assert_no_drift()


def test_a_sale_lapses_the_overdue_hold_in_its_way(buyer: User, rival: User, pot: Product) -> None:
    """Without any worker, an overdue hold on the last pot is lapsed for the next buyer."""
    old = order_of(buyer, pot)
    make_overdue(old)
    new = order_of(rival, pot)
    old.refresh_from_db()
    assert (old.status, old.cancel_reason) == (Status.CANCELLED, "expired")
    assert new.status == Status.AWAITING_PAYMENT
    assert stock_of(pot) == (1, 1)
    assert_no_drift()


def test_a_hold_in_time_does_not_give_way(buyer: User, rival: User, pot: Product) -> None:
    """A hold that is not overdue is kept: the next buyer sees that it is sold out."""
    order_of(buyer, pot)
    with pytest.raises(SoldOut):
        order_of(rival, pot)
    assert stock_of(pot) == (1, 1)


def test_many_buyers_and_one_overdue_hold(buyer: User, pot: Product) -> None:
    """Many buyers at once want a pot with one overdue hold: exactly one gets the pot, never none."""
    make_overdue(order_of(buyer, pot))
    buyers = [sign_up(f"buyer{number}@example.com", PASSWORD) for number in range(6)]
    results = together(*[lambda buyer=buyer: place(buyer, [wanted(pot)]) for buyer in buyers])
    assert sum(isinstance(result, Placed) for result in results) == 1, results
    assert stock_of(pot) == (1, 1)
    assert_no_drift()


def test_a_silent_gateway_is_asked_once_per_sale(
    buyer: User, rival: User, pot: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overdue hold whose gateway does not answer stays: the next buyer is refused after one query, not twenty."""
    old = order_of(buyer, pot)
    payment_link(old.pk)
    make_overdue(old)
    asked: list[str] = []

    def silent(_gateway: DevelopmentGateway, attempt: Attempt) -> Ruling:
        asked.append(attempt.reference)
        return Ruling(attempt, Verdict.UNKNOWN)

    monkeypatch.setattr(DevelopmentGateway, "close", silent)
    with pytest.raises(SoldOut):
        order_of(rival, pot)
    assert len(asked) == 1
    assert stock_of(pot) == (1, 1)


def test_a_sale_waits_for_a_worker_at_work_on_the_hold(
    buyer: User, rival: User, pot: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process is in the middle of lapsing the overdue hold, the sale waits a moment and succeeds."""
    old = order_of(buyer, pot)
    make_overdue(old)
    inside, go_on = threading.Event(), threading.Event()
    orders = unpaid_orders()
    genuine = orders.on_lapse

    def slow(lapsed: OrderBatch[Order]) -> None:
        inside.set()
        assert go_on.wait(30)
        genuine(lapsed)

    def sell() -> Placed:
        assert inside.wait(30)
        threading.Timer(0.3, go_on.set).start()
        return place(rival, [wanted(pot)])

    monkeypatch.setattr(orders, "on_lapse", slow)
    lapsed, sold = together(lambda: orders.lapse([old.public_id]), sell)
    assert isinstance(sold, Placed), (lapsed, sold)
    assert stock_of(pot) == (1, 1)
    assert_no_drift()


def test_the_shelf_shows_what_overdue_holds_kept(buyer: User, pot: Product) -> None:
    """A product that seems sold out only because of overdue holds is shown as available."""
    make_overdue(order_of(buyer, pot))
    assert [product.available for product in on_sale()] == [1]


def test_the_database_itself_refuses_to_oversell(pot: Product) -> None:
    """No statement can hold more pieces than are on hand, or fewer than 0."""
    for held in (2, -1):
        with pytest.raises(IntegrityError), transaction.atomic():
            Product.objects.filter(pk=pot.pk).update(held=held)
