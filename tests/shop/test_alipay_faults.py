"""The shop under each fault of Alipay: every order comes to its one right end, and the books are clean.

One shop has an order for each row of a table, and each order's trade has its own fault.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import Settings

from lapse.integrations.django.attempts import STILL_OPEN, State
from lapse.testing.alipay import FAULTS, Buyer
from shop.catalogue.models import Product
from shop.lapsing import ShopOrders
from shop.orders.models import UNPAID, Order, Reason
from shop.orders.refusals import Refused
from shop.orders.transitions import cancel
from shop.payments.alipay import open_alipay
from shop.payments.models import GatewayMessage, Judged, PaymentAttempt
from tests.gateways.listening import eventually
from tests.shop.alipay_rehearsal import PayingShop, link_of, state_of, status_of
from tests.shop.alipay_shop import paying as paying  # noqa: PLC0414  # pytest finds a fixture by its name here
from tests.shop.rehearsal import assert_no_drift, order_of, reconcile, stock_of

HALF_AN_HOUR = timedelta(minutes=30)
EVERY_CALL = ["query", "close", "refund", "fastpay.refund.query"]
HANG = 1.0
"""Seconds: longer than this shop's gateway waits."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, and how an order ends whose buyer pays in time under the fault: its status, and its attempt's state."""

    faults: Mapping[str, Any]
    ends: tuple[str, str] = ("paid", State.SUCCEEDED)
    before_opening: bool = field(default=False, kw_only=True)


ROWS = {
    "none": Row({}),
    "notify dropped": Row({"notify": "drop"}),
    "notify doubled": Row({"notify": "double"}),
    "notify delayed": Row({"notify": "delay", "notify_delay": 0.5}),
    "notify held for the next one": Row({"notify": "reorder"}),
    "notify of another amount": Row({"notify_amount": "0.01", "times": 1}),
    "another amount in every report": Row({"notify_amount": "0.01"}, ("cancelled expired", State.REFUNDED)),
    "notify of another seller": Row({"notify_seller": "2088000000000000"}),
    "notify of another app": Row({"notify_app": "2021000000000000"}),
    "notify forged": Row({"notify_forged": True}),
    "paid before the page": Row({"paid_at_once": True}, before_opening=True),
    "time_expire ignored": Row({"overtime": True}),
    "close blocks": Row({"close_blocks": True}),
    "does not exist, then paid": Row({"notify": "drop", "not_exist": EVERY_CALL, "times": 1}),
    "SYSTEM_ERROR": Row({"notify": "drop", "system_error": EVERY_CALL, "times": 3}),
    "unavailable": Row({"notify": "drop", "unavailable": EVERY_CALL, "times": 3}),
    "hangs, but does": Row({"notify": "drop", "hanging": EVERY_CALL, "hang": HANG, "times": 2}),
    "hangs and does not": Row({"notify": "drop", "hanging_undone": EVERY_CALL, "hang": HANG, "times": 2}),
    "refund refused": Row({"refund_refused": "ACQ.SELLER_BALANCE_NOT_ENOUGH", "times": 1}),
    "GBK": Row({"charset": "gbk"}),
    "answers forged": Row({"notify": "drop", "forge": True, "times": 2}),
    "answers empty": Row({"notify": "drop", "answers": "empty", "times": 2}),
    "answers garbage": Row({"notify": "drop", "answers": "garbage", "times": 2}),
    "answers cut": Row({"notify": "drop", "answers": "half", "times": 2}),
    "answers endless": Row({"notify": "drop", "answers": "endless", "times": 1}),
}


@pytest.fixture
def hasty(paying: PayingShop, shop: Settings, cup: Product) -> Iterator[PayingShop]:
    """Let the shop wait half a second for Alipay, and have enough cups for every row."""
    shop.ALIPAY = {**shop.ALIPAY, "timeout": timedelta(seconds=HANG / 2)}
    shop.LAPSE_OPEN_ORDERS = 1000
    Product.objects.filter(pk=cup.pk).update(on_hand=1000)
    yield paying
    paying.alipay.reset()


def test_every_fault_has_a_row() -> None:
    """A new fault of the simulator needs a row here. `unnamed` is for certificates, which this shop has not."""
    assert {name for row in ROWS.values() for name in row.faults} - {"times"} == FAULTS.keys() - {"unnamed"}


def begin(paying: PayingShop, order: Order, row: Row) -> tuple[Buyer, str]:
    """Make the order's link and open it, with the row's faults on; return the buyer and the attempt's number."""
    link, number = link_of(order)
    if row.before_opening:
        paying.alipay.faults(number, **row.faults)
    buyer = Buyer(link)
    if not row.before_opening:
        paying.alipay.faults(number, **row.faults)
    return buyer, number


def settle() -> None:
    """Let all orders be due and their links be over, by the shop's clock. Lapse and reconcile until nothing is open."""
    Order.objects.filter(UNPAID).update(pay_by=Now() - HALF_AN_HOUR)
    PaymentAttempt.objects.filter(STILL_OPEN).update(expires_at=F("expires_at") - 2 * HALF_AN_HOUR)

    def is_settled() -> bool:
        if keys := list(Order.objects.filter(UNPAID).values_list("public_id", flat=True)):
            ShopOrders().lapse(keys)
        reconcile()
        return not (
            Order.objects.filter(UNPAID).exists()
            or PaymentAttempt.objects.filter(STILL_OPEN).exists()
            or PaymentAttempt.objects.filter(state=State.REFUND_DUE).exists()
        )

    assert eventually(is_settled, within=120), list(PaymentAttempt.objects.values_list("reference", "state"))


def assert_alipay_agrees(paying: PayingShop, *, but: str = "") -> None:
    """Assert that the money at Alipay is where the shop has it. Alipay's reports about the attempt `but` were wrong."""
    for trade in paying.alipay.trades():
        if trade["out_trade_no"] == but:
            continue
        attempt = PaymentAttempt.objects.get(reference=trade["out_trade_no"])
        was_paid = trade["trade_status"] == "TRADE_SUCCESS" or Decimal(trade["refunded"]) > 0
        assert (attempt.paid is not None) is was_paid, trade
        assert attempt.refunded == Decimal(trade["refunded"]), trade


def test_paid_in_time_under_each_fault(hasty: PayingShop, buyer: User, cup: Product) -> None:
    """Each buyer pays before the deadline. Each order is paid, but one: Alipay reports only a wrong amount of it."""
    numbers: dict[str, tuple[Order, str]] = {}
    for name, row in ROWS.items():
        order = order_of(buyer, cup)
        at_the_cashier, number = begin(hasty, order, row)
        if not row.before_opening:
            assert at_the_cashier.scan(), name
            assert at_the_cashier.pay(), name
        numbers[name] = (order, number)
    at_once = ("none", "notify doubled", "paid before the page", "GBK", "time_expire ignored", "close blocks")
    assert eventually(lambda: all(status_of(numbers[name][0]) == "paid" for name in at_once))
    settle()
    ends = {name: (status_of(order), state_of(number)) for name, (order, number) in numbers.items()}
    assert ends == {name: row.ends for name, row in ROWS.items()}
    assert_alipay_agrees(hasty, but=numbers["another amount in every report"][1])
    refused = set(GatewayMessage.objects.exclude(judged=Judged.ACCEPTED).values_list("judged", flat=True))
    assert refused == {Judged.AMOUNT, Judged.SELLER, Judged.APP, Judged.SIGNATURE}
    assert_no_drift()


def test_the_notify_comes_before_the_attempt_is_committed(hasty: PayingShop, buyer: User, cup: Product) -> None:
    """The first notify finds no attempt and is answered `failure`; Alipay sends it again, and the order is paid."""
    gateway = open_alipay()
    assert gateway is not None
    hasty.alipay.faults(paid_at_once=True)
    order = order_of(buyer, cup)
    with transaction.atomic():
        ends = gateway.link_ends(order.pay_by)
        PaymentAttempt.objects.create(
            order=order, reference="early", gateway="alipay", amount=order.total, expires_at=ends
        )
        Buyer(gateway.page_pay_url("early", order.total, "tea", ends))
        notifies = (hasty.alipay.trade("early") or {})["notifies"]
        assert notifies[0]["answers"][0] == "failure"
    assert eventually(lambda: status_of(order) == "paid")
    assert_no_drift()


def unpaid(_: PayingShop, __: Order, at_the_cashier: Buyer) -> None:
    """Scan, and do not pay."""
    at_the_cashier.scan()


def unscanned(_: PayingShop, __: Order, ___: Buyer) -> None:
    """Open the link only."""


def paid_late(paying: PayingShop, order: Order, at_the_cashier: Buyer) -> None:
    """Pay after the order lapsed: Alipay's clock is behind."""
    del paying
    Order.objects.filter(UNPAID, pk=order.pk).update(pay_by=Now() - HALF_AN_HOUR)
    PaymentAttempt.objects.filter(STILL_OPEN, order=order).update(expires_at=F("expires_at") - 2 * HALF_AN_HOUR)
    ShopOrders().lapse([order.public_id])
    at_the_cashier.scan()
    at_the_cashier.pay()


def cancelled_then_paid(paying: PayingShop, order: Order, at_the_cashier: Buyer) -> None:
    """Cancel before the scan, then pay if the link can still be paid."""
    del paying
    try:
        cancel(order.pk, reason=Reason.BUYER, who="test")
    except Refused:
        assert status_of(order) == "paid"
    at_the_cashier.scan()
    at_the_cashier.pay()


def refunded_in_console(paying: PayingShop, order: Order, at_the_cashier: Buyer) -> None:
    """Pay, then refund a part in Alipay's console."""
    at_the_cashier.scan()
    at_the_cashier.pay()
    reference = PaymentAttempt.objects.get(order=order).reference
    paying.alipay.refund(reference, Decimal("7.00"))


@pytest.mark.long
@pytest.mark.parametrize("what", [unpaid, unscanned, paid_late, cancelled_then_paid, refunded_in_console])
def test_each_fault_at_each_time(
    hasty: PayingShop, buyer: User, cup: Product, what: Callable[[PayingShop, Order, Buyer], None]
) -> None:
    """An order under a fault ends once, at each time of paying: paid, or cancelled and its money refunded."""
    numbers: dict[str, tuple[Order, str]] = {}
    for name, row in ROWS.items():
        order = order_of(buyer, cup)
        at_the_cashier, number = begin(hasty, order, row)
        what(hasty, order, at_the_cashier)
        numbers[name] = (order, number)
    settle()
    for name, (order, number) in numbers.items():
        status, state = status_of(order), state_of(number)
        assert (status == "paid") is (state == State.SUCCEEDED), name
        assert status == "paid" or state in (State.CLOSED, State.REFUNDED), name
    sold = sum(status_of(order) == "paid" for order, _ in numbers.values())
    assert stock_of(cup) == (1000 - sold, 0)
    assert_no_drift()
