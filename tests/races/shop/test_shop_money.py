"""Money that the order's row does not see, in the reference shop: each ends on a paid order, or with the buyer."""

import logging
from decimal import Decimal
from threading import Event as Signal

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import Attempt, Outcome, Refund, Revived, Ruling, Settled
from lapse.testing.alipay import Buyer
from shop.catalogue.models import Product
from shop.lapsing import ShopOrders
from shop.orders.models import Order, Reason, Reservation
from shop.orders.more_time import revive
from shop.orders.refusals import SoldOut
from shop.orders.transitions import cancel
from shop.payments.alipay import AlipayPayments
from shop.payments.models import GatewayMessage, Judged, PaymentAttempt
from shop.statistics.models import Event, Tally
from tests.shop.alipay_rehearsal import PayingShop, lapse, let_time_pass, link_of, post, scanned, state_of, status_of
from tests.shop.rehearsal import assert_no_drift, make_overdue, order_of, reconcile, stock_of, together, trail_of

SUCCESS, FAILURE = (200, "success"), (400, "failure")
HALF_AN_HOUR = 1800.0
NO_MONEY, IF_YOU_PAID = "No money was taken", "If you paid"


def page_of(order: Order) -> str:
    """Return the order's page as its buyer sees it."""
    client = Client()
    client.force_login(order.buyer)
    return client.get(f"/orders/{order.public_id}/").content.decode()


def come_back(address: str | None) -> None:
    """Open the address to which Alipay sends the buyer who has paid."""
    assert address
    Client().get(address[address.index("/payment") :])


def refunded_at_alipay(paying: PayingShop, number: str) -> Decimal:
    """Return what Alipay has refunded of the attempt."""
    trade = paying.alipay.trade(number)
    assert trade
    return Decimal(trade["refunded"])


def lapsed_with_an_open_link(order: Order) -> tuple[Buyer, str]:
    """Let the order lapse while its link was not scanned: Alipay knows no trade, and the link can be paid after all."""
    link, number = link_of(order)
    cashier = Buyer(link)
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) is Outcome.LAPSED
    return cashier, number


@pytest.mark.parametrize("stock", [10, 0])
def test_m1_the_link_of_a_lapsed_order_is_paid_and_the_notify_is_lost(
    paying: PayingShop, buyer: User, cup: Product, stock: int
) -> None:
    """R3, R4, R7: the return page asks although attempt and order are over. The page is true at each step."""
    paying.alipay.faults(notify="drop")
    cashier, number = lapsed_with_an_open_link(order := order_of(buyer, cup))
    assert IF_YOU_PAID in page_of(order)
    assert "We are asking Alipay" in page_of(order)
    assert NO_MONEY not in page_of(order)
    Product.objects.update(on_hand=stock)
    assert cashier.scan()
    come_back(cashier.pay())
    if stock:
        assert (status_of(order), state_of(number)) == ("paid", State.SUCCEEDED)
        assert "the order was reinstated" in page_of(order)
        assert trail_of(order)[-3:] == ["cancelled: expired", "reinstated: late_money", "paid"]
        assert stock_of(cup) == (9, 0)
    else:
        assert (status_of(order), state_of(number)) == ("cancelled expired", State.REFUND_DUE)
        assert "¥58.00 of your money cannot pay this order. It is being refunded" in page_of(order)
        assert reconcile()[Settled.REFUNDED] == 1
        assert refunded_at_alipay(paying, number) == order.total
        assert "¥58.00 was refunded to you" in page_of(order)
        assert trail_of(order)[-2:] == ["refund due: 58.00", "refunded: 58.00"]
    assert NO_MONEY not in page_of(order)
    assert IF_YOU_PAID not in page_of(order)
    assert_no_drift()


def test_m1_no_money_was_taken_is_said_where_it_is_known(buyer: User, cup: Product) -> None:
    """An order whose payment was never begun, and one whose attempt is asked about no more."""
    never, closed = order_of(buyer, cup), order_of(buyer, cup)
    attempt = PaymentAttempt.objects.create(
        order=closed, reference="a1", gateway="development", amount=closed.total, state=State.CLOSED, ask_at=Now()
    )
    make_overdue(never, closed)
    assert NO_MONEY in page_of(never)
    assert IF_YOU_PAID in page_of(closed)
    PaymentAttempt.objects.filter(pk=attempt.pk).update(ask_at=None)
    assert NO_MONEY in page_of(closed)


def test_m2_the_second_attempt_is_paid_as_well_and_its_notify_is_lost(
    paying: PayingShop, buyer: User, cup: Product
) -> None:
    """R14: the first attempt's success pays the order. The second one is found, although the order is paid."""
    paying.alipay.faults(notify="drop")
    order = order_of(buyer, cup)
    _, first = link_of(order)
    assert post(paying.form(first, "TRADE_CLOSED")) == SUCCESS
    cashier, second = scanned(order)
    assert post(paying.form(first)) == SUCCESS
    assert (status_of(order), state_of(second)) == ("paid", State.PENDING)
    assert cashier.pay()
    assert reconcile()[Settled.REFUNDED] == 1
    assert (state_of(first), state_of(second)) == (State.SUCCEEDED, State.REFUNDED)
    assert refunded_at_alipay(paying, second) == order.total
    assert "¥58.00 was refunded to you" in page_of(order)
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_m2_the_second_attempt_is_closed_once_the_first_has_paid(paying: PayingShop, buyer: User, cup: Product) -> None:
    """R14: no time to ask has come, and the other attempt is asked about at once. Its cashier takes no money."""
    order = order_of(buyer, cup)
    _, first = link_of(order)
    post(paying.form(first, "TRADE_CLOSED"))
    cashier, second = scanned(order)
    assert post(paying.form(first)) == SUCCESS
    unpaid_orders().reconciler().once()
    assert state_of(second) == State.CLOSED
    assert cashier.pay() is None


def test_m3_the_refund_is_reported_before_the_success(paying: PayingShop, buyer: User, cup: Product) -> None:
    """R18: a refund is final for its attempt. The order stays unpaid, and lapses at its deadline."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    assert post(paying.form(number, "TRADE_CLOSED", refund_fee="58.00", gmt_payment="2026-11-27 10:00:00")) == SUCCESS
    assert post(paying.form(number)) == SUCCESS
    assert (status_of(order), state_of(number)) == ("awaiting_payment", State.REFUNDED)
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) is Outcome.LAPSED
    assert stock_of(cup) == (10, 0)
    assert Tally.objects.filter(event=Event.PAID).count() == 0
    assert "¥58.00 was refunded to you" in page_of(order)
    assert_no_drift()


def test_m4_r26_a_paid_order_is_refunded_in_parts(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Each part counts once, though trade and status are the same. The order stays paid and never lapses."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    parts = ["20.00", "20.00", "40.00", "20.00"]
    for form in [paying.form(number), *(paying.form(number, refund_fee=part) for part in parts)]:
        assert post(form) == SUCCESS
    assert GatewayMessage.objects.filter(judged=Judged.ACCEPTED).count() == 3
    assert trail_of(order)[-3:] == ["paid", "refunded: 20.00", "refunded: 20.00"]
    refunds = Tally.objects.get(event=Event.REFUNDED)
    assert (refunds.count, refunds.amount) == (2, Decimal(40))
    assert "¥40.00 was refunded to you" in page_of(order)
    assert post(paying.form(number, "TRADE_CLOSED", refund_fee="58.00")) == SUCCESS
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) is Outcome.NOT_UNPAID
    assert unpaid_orders().lapse_overdue() == {}
    assert (status_of(order), state_of(number)) == ("paid", State.REFUNDED)
    assert "We are packing it" not in page_of(order)
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_m5_r12_alipay_is_asked_at_once_about_a_notify_with_a_wrong_amount(
    paying: PayingShop, buyer: User, cup: Product, caplog: pytest.LogCaptureFixture
) -> None:
    """The notify is refused, kept and logged. The query is the authority, and the money pays the order."""
    paying.alipay.faults(notify="drop")
    order = order_of(buyer, cup)
    cashier, number = scanned(order)
    assert cashier.pay()
    with caplog.at_level(logging.ERROR, "shop.payments"):
        assert post(paying.form(number, total_amount="0.01")) == FAILURE
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert GatewayMessage.objects.get().judged == Judged.AMOUNT
    assert status_of(order) == "awaiting_payment"
    assert unpaid_orders().reconciler().once() == {Settled.PAID: 1}
    assert status_of(order) == "paid"
    assert_no_drift()


def test_m5_r13_a_part_is_paid(paying: PayingShop, buyer: User, cup: Product) -> None:
    """The page names both amounts; the part goes back, the order lapses at its deadline, and its stock is released."""
    paying.alipay.faults(notify="drop", notify_amount="20.00")
    order = order_of(buyer, cup)
    cashier, number = scanned(order)
    come_back(cashier.pay())
    assert (status_of(order), state_of(number)) == ("awaiting_payment", State.REFUND_DUE)
    assert "You paid ¥20.00, and ¥58.00 was due" in page_of(order)
    assert reconcile()[Settled.REFUNDED] == 1
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) is Outcome.LAPSED
    assert "¥20.00 was refunded to you" in page_of(order)
    assert NO_MONEY not in page_of(order)
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_m6_an_order_that_was_cancelled_by_its_buyer_is_not_reinstated(
    paying: PayingShop, buyer: User, cup: Product
) -> None:
    """R3, R4: ten of ten are in stock, and the buyer did not want the order any more: the money goes back."""
    paying.alipay.faults(notify="drop")
    order = order_of(buyer, cup)
    link, number = link_of(order)
    cancel(order.pk, reason=Reason.BUYER, who="test")
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) is Outcome.LAPSED
    cashier = Buyer(link)
    assert cashier.scan()
    come_back(cashier.pay())
    assert (status_of(order), state_of(number)) == ("cancelled buyer", State.REFUND_DUE)
    assert reconcile()[Settled.REFUNDED] == 1
    assert refunded_at_alipay(paying, number) == order.total
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_m10_the_merchant_refunds_in_alipays_console(paying: PayingShop, buyer: User, cup: Product) -> None:
    """R4: the money is due, a person is quicker, and nothing is refunded twice."""
    paying.alipay.faults(notify="drop")
    cashier, number = lapsed_with_an_open_link(order := order_of(buyer, cup))
    Product.objects.update(on_hand=0)
    assert cashier.scan()
    come_back(cashier.pay())
    assert state_of(number) == State.REFUND_DUE
    paying.alipay.refund(number)
    assert reconcile()[Settled.REFUNDED] == 1
    assert state_of(number) == State.REFUNDED
    assert refunded_at_alipay(paying, number) == order.total
    assert_no_drift()


def test_r4_the_answer_to_a_refund_is_lost(
    paying: PayingShop, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alipay has refunded when the connection breaks. The next round learns so, and refunds no second time."""
    paying.alipay.faults(notify="drop")
    cashier, number = lapsed_with_an_open_link(order := order_of(buyer, cup))
    Product.objects.update(on_hand=0)
    assert cashier.scan()
    come_back(cashier.pay())
    genuine = AlipayPayments.refund

    def lost(gateway: AlipayPayments, attempt: Attempt, amount: Decimal) -> Refund:
        genuine(gateway, attempt, amount)
        raise ConnectionError("the answer is lost")

    with monkeypatch.context() as patched:
        patched.setattr(AlipayPayments, "refund", lost)
        PaymentAttempt.objects.update(ask_at=Now())
        unpaid_orders().reconciler().once()
    assert state_of(number) == State.REFUND_DUE
    assert reconcile()[Settled.REFUNDED] == 1
    assert state_of(number) == State.REFUNDED
    assert refunded_at_alipay(paying, number) == order.total
    assert_no_drift()


def test_r7_the_reconciler_finds_a_lost_notify_long_before_the_deadline(
    paying: PayingShop, buyer: User, cup: Product
) -> None:
    """The buyer does not come back either."""
    paying.alipay.faults(notify="drop")
    order = order_of(buyer, cup)
    cashier, _ = scanned(order)
    assert cashier.pay()
    assert reconcile()[Settled.PAID] == 1
    assert status_of(order) == "paid"
    assert_no_drift()


def test_r3_the_notify_comes_while_the_return_page_asks(
    paying: PayingShop, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both learn of the late money of one order: it is reinstated and paid once."""
    paying.alipay.faults(notify="drop")
    cashier, number = lapsed_with_an_open_link(order := order_of(buyer, cup))
    assert cashier.scan()
    back = cashier.pay()
    trade = paying.alipay.trade(number)
    assert trade
    genuine = AlipayPayments.query

    def overtaken(gateway: AlipayPayments, attempt: Attempt) -> Ruling:
        ruling = genuine(gateway, attempt)
        assert post(paying.form(number, trade_no=trade["trade_no"])) == SUCCESS
        return ruling

    monkeypatch.setattr(AlipayPayments, "query", overtaken)
    come_back(back)
    assert status_of(order) == "paid"
    assert trail_of(order)[-3:] == ["cancelled: expired", "reinstated: late_money", "paid"]
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_r3_r28_the_last_piece_is_sold_while_late_money_wants_it(
    paying: PayingShop, buyer: User, rival: User, pot: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sale waits for the reinstatement's lock and is refused: sold out: the piece is sold once."""
    order = order_of(buyer, pot)
    _, number = link_of(order)
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) is Outcome.LAPSED
    reserved = Signal()
    genuine = ShopOrders.reinstate

    def slowly(shop: ShopOrders, locked: Order) -> bool:
        held = genuine(shop, locked)
        reserved.set()
        Signal().wait(0.5)  # long enough for the sale to run into the lock; the outcome does not depend on it
        return held

    monkeypatch.setattr(ShopOrders, "reinstate", slowly)

    def sell() -> Order:
        assert reserved.wait(30)
        return order_of(rival, pot)

    answer, sale = together(lambda: post(paying.form(number)), sell)
    assert answer == SUCCESS
    assert isinstance(sale, SoldOut)
    assert status_of(order) == "paid"
    assert stock_of(pot) == (0, 0)
    assert_no_drift()


def test_r24_a_reinstated_order_is_cancelled_again(buyer: User, cup: Product) -> None:
    """It has new reservations, and they are released once, as the old ones were."""
    order = order_of(buyer, cup, 3)
    make_overdue(order)
    assert lapse(order) is Outcome.LAPSED
    assert revive([order], minutes=60, who="merchant 1") == {order.public_id: Revived.REVIVED}
    assert (status_of(order), stock_of(cup)) == ("awaiting_payment", (10, 3))
    make_overdue(order)
    assert [lapse(order), lapse(order)] == [Outcome.LAPSED, Outcome.NOT_UNPAID]
    assert list(Reservation.objects.values_list("state", flat=True)) == ["released", "released"]
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_r8_a_notify_whose_booking_fails_is_booked_when_it_is_sent_again(
    paying: PayingShop, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message and its effect are one transaction: a message that is kept alone would pass for a booked one."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    with monkeypatch.context() as patched:
        patched.setattr(ShopOrders, "on_paid", lambda *_: 1 / 0)
        assert post(paying.form(number)) == (503, "failure")
    assert GatewayMessage.objects.count() == 0
    assert post(paying.form(number)) == SUCCESS
    assert status_of(order) == "paid"
    assert_no_drift()
