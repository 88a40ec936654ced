"""Fifty buyers race for ten pieces while orders lapse and payments arrive, with real threads and the simulator."""

import itertools
import threading
from collections import Counter
from contextlib import suppress
from decimal import Decimal

import pytest
from django.db.models import F

from lapse.integrations.django import unpaid_orders
from lapse.orders import AttemptState
from lapse.testing.alipay import AlipaySimulator, Buyer
from shop.buyers.accounts import sign_up
from shop.catalogue.models import Product
from shop.orders.models import UNPAID, Order, Status
from shop.orders.placing import Placed, place
from shop.orders.refusals import Refused, SoldOut
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from tests.shop.alipay_rehearsal import PayingShop, let_time_pass
from tests.shop.alipay_shop import paying as paying  # noqa: PLC0414  # pytest finds a fixture by its name here
from tests.shop.rehearsal import PASSWORD, assert_no_drift, make_overdue, stock_of, together, wanted

BUYERS = 50
PIECES = 10
MORE = 5
"""Pieces that come when the buyers have gone: by then all others may be sold."""


@pytest.mark.long
def test_fifty_buyers_want_ten_pieces(paying: PayingShop, cup: Product) -> None:
    """Never oversold, never undersold while only overdue holds are in the way, and all money is accounted for.

    Of the buyers, some pay at once, some never, and some pay when their time is over by the shop's clock. A worker
    lapses and reconciles meanwhile.
    """
    buyers = [sign_up(f"buyer{number}@example.com", PASSWORD) for number in range(BUYERS)]
    ended, turns = threading.Event(), itertools.count()

    def shop(number: int) -> str:
        for _ in range(20):
            with suppress(SoldOut):
                order = place(buyers[number], [wanted(cup)]).order
                break
            ended.wait(0.05)
        else:
            return "sold out"
        if number % 5 == 0:  # the buyer has no wish to pay any more
            make_overdue(order)
            return "left"
        try:
            browser = Buyer(payment_link(order.pk))
        except Refused:
            return "too late"
        browser.scan()
        if number % 3 == 0:
            let_time_pass(order, 2000)
        return "paid" if browser.pay() else "closed"

    def work() -> int:
        while not ended.is_set():
            next(turns)
            unpaid_orders().lapse_overdue()
            unpaid_orders().reconciler().once()
            ended.wait(0.01)
        return -1

    def shop_all(first: int) -> list[str]:
        try:
            return [shop(number) for number in range(first, BUYERS, 10)]
        finally:
            if next(done) == 9:
                ended.set()

    done = itertools.count()
    results = together(work, *[lambda first=first: shop_all(first) for first in range(10)])
    outcomes = Counter(itertools.chain.from_iterable(results[1:]))
    assert set(outcomes) <= {"left", "paid", "closed", "too late", "sold out"}, outcomes
    Product.objects.update(on_hand=F("on_hand") + MORE)
    together(*[lambda buyer=buyer: place(buyer, [wanted(cup)]) for buyer in buyers[20:40]])
    assert stock_of(cup)[0] == stock_of(cup)[1], "each piece that is not sold is held"
    make_overdue(*Order.objects.filter(UNPAID))  # and no worker runs any more
    late = together(*[lambda buyer=buyer: place(buyer, [wanted(cup)]) for buyer in buyers[:20]])
    held = sum(isinstance(result, Placed) for result in late)
    assert held + sum(isinstance(result, SoldOut) for result in late) == 20, late
    sold = Order.objects.filter(status=Status.PAID).count()
    assert held == min(20, PIECES + MORE - sold), "as many were sold as there were, and no more"
    assert stock_of(cup) == (PIECES + MORE - sold, held)
    settle()
    sold = Order.objects.filter(status=Status.PAID).count()
    assert stock_of(cup) == (PIECES + MORE - sold, 0)
    assert_all_money_is_seen(paying.alipay)
    assert_no_drift()


def settle() -> None:
    """Let the time of all unpaid orders be over, and let the worker finish."""
    for _ in range(5):
        make_overdue(*Order.objects.filter(UNPAID))
        unpaid_orders().lapse_overdue(limit=100)
        PaymentAttempt.objects.filter(ask_at__isnull=False).update(ask_at="2001-01-01T00:00:00Z")
        unpaid_orders().reconciler().once()


def assert_all_money_is_seen(alipay: AlipaySimulator) -> None:
    """Assert that each trade's money is on a paid order, refunded, or on the work list."""
    attempts = {attempt.reference: attempt for attempt in PaymentAttempt.objects.select_related("order")}
    for trade in alipay.trades():
        attempt = attempts[trade["out_trade_no"]]
        if trade["trade_status"] == "TRADE_SUCCESS":
            kept = Decimal(trade["total_amount"]) - Decimal(trade["refunded"])
            assert attempt.state in (AttemptState.SUCCEEDED, AttemptState.REFUND_DUE, AttemptState.REVIEW), trade
            assert attempt.kept == kept, trade
            assert (attempt.order.status == Status.PAID) is (attempt.state == AttemptState.SUCCEEDED), trade
