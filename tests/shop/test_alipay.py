"""Paying by Alipay, from the link to the end: with a simulator, over HTTP, while the worker races the payment."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Thread

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.db import connections
from django.test import Client
from pytest_django import Settings

from lapse.integrations.django.attempts import State
from lapse.orders import Outcome, Settled
from lapse.testing.alipay import Buyer
from shop.catalogue.models import Product
from shop.orders.models import Order, Reason, Status
from shop.orders.refusals import TooLate
from shop.orders.transitions import cancel
from shop.payments.links import payment_link
from shop.payments.models import GatewayMessage, Judged, PaymentAttempt
from tests.gateways.listening import eventually
from tests.shop.alipay_rehearsal import (
    PayingShop,
    content_of,
    lapse,
    let_time_pass,
    link_of,
    scanned,
    state_of,
    status_of,
)
from tests.shop.alipay_shop import paying as paying  # noqa: PLC0414  # pytest finds a fixture by its name here
from tests.shop.rehearsal import PASSWORD, api_of, assert_no_drift, order_of, reconcile, stock_of, together, trail_of

HALF_AN_HOUR = 1800.0


def signed_in(buyer: User) -> Client:
    """Return the browser of a buyer who has signed in."""
    client = Client()
    assert client.login(username=buyer.username, password=PASSWORD)
    return client


# --- paying ---


def test_a_buyer_pays(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Link, scan, pay: the notify pays the order, and the return page leads to it."""
    order = order_of(buyer, cup, 2)
    browser = signed_in(buyer)
    sent = browser.post(f"/orders/{order.public_id}/pay/")
    link = sent.headers["Location"]
    assert link.startswith(paying.alipay.gateway_url)
    assert paying.alipay.url in sent.headers["Content-Security-Policy"]
    number = content_of(link)["out_trade_no"]
    at_the_cashier = Buyer(link)
    assert at_the_cashier.scan()
    back = at_the_cashier.pay()
    assert back
    assert eventually(lambda: status_of(order) == "paid")
    assert browser.get(back[back.index("/payment") :]).headers["Location"] == f"/orders/{order.public_id}/"
    attempt = PaymentAttempt.objects.get(reference=number)
    trade = paying.alipay.trade(number)
    assert trade
    assert (attempt.state, attempt.provider_reference) == (State.SUCCEEDED, trade["trade_no"])
    assert [notify["answers"] for notify in trade["notifies"]] == [["success"]]
    assert stock_of(cup) == (8, 0)
    assert_no_drift()


def test_the_link_ends_before_the_deadline_and_is_used_again(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Asked for twice it is one attempt with one end, in China's time, at least the margin before the deadline."""
    del paying
    order = order_of(buyer, cup)
    contents = [content_of(api_of(buyer)("POST", f"/orders/{order.public_id}/pay").json()["pay_url"]) for _ in range(2)]
    assert contents[0] == contents[1]
    end = datetime.fromisoformat(contents[0]["time_expire"] + "+08:00").astimezone(UTC)
    assert timedelta(seconds=2) <= order.pay_by - end < timedelta(seconds=3)
    attempt = PaymentAttempt.objects.get()
    assert attempt.expires_at == end
    assert contents[0]["total_amount"] == str(attempt.amount)


def test_no_link_when_too_little_time_is_left(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Neither a new one nor the open one: the buyer would find the cashier closed."""
    del paying
    new, opened = order_of(buyer, cup), order_of(buyer, cup)
    link_of(opened)
    for order in (new, opened):
        let_time_pass(order, HALF_AN_HOUR - 6)  # the link ends two seconds earlier, so fewer than five are left
        with pytest.raises(TooLate, match="Too little"):
            payment_link(order.pk)
    assert PaymentAttempt.objects.count() == 1


# --- lapsing, and Alipay's answers ---


def test_an_unscanned_link_keeps_no_order(paying: PayingShop, buyer: User, cup: Product) -> None:
    """At the deadline such a link is over by the margin, so the order lapses at once, though Alipay knows no trade."""
    order = order_of(buyer, cup)
    link, number = link_of(order)
    Buyer(link)
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.LAPSED
    assert state_of(number) == State.CLOSED
    assert paying.alipay.trades() == []
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_a_buyer_who_cancels_may_still_have_the_link(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Until the end of an unscanned link the order is closing and can be paid; then it is cancelled, by the buyer."""
    del paying
    order = order_of(buyer, cup)
    _, number = link_of(order)
    cancel(order.pk, reason=Reason.BUYER, who="test")
    assert status_of(order) == "closing buyer"
    assert state_of(number) == State.PENDING
    assert stock_of(cup) == (10, 1)
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.LAPSED
    assert status_of(order) == "cancelled buyer"
    assert_no_drift()


def test_a_scanned_trade_is_closed_with_the_order(paying: PayingShop, buyer: User, cup: Product) -> None:
    """A trade that waits is closed at Alipay: the order is cancelled at once, and the cashier takes no money."""
    order = order_of(buyer, cup)
    at_the_cashier, number = scanned(order)
    cancel(order.pk, reason=Reason.BUYER, who="test")
    assert status_of(order) == "cancelled buyer"
    assert at_the_cashier.pay() is None
    trade = paying.alipay.trade(number)
    assert trade
    assert trade["trade_status"] == "TRADE_CLOSED"
    assert_no_drift()


def test_a_lost_notify(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Money whose notify was lost is found when the order is about to lapse."""
    order = order_of(buyer, cup)
    paying.alipay.faults(notify="drop")
    at_the_cashier, number = scanned(order)
    assert at_the_cashier.pay()
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.PAID
    assert status_of(order) == "paid"
    assert state_of(number) == State.SUCCEEDED
    assert_no_drift()


def test_the_return_page_asks(paying: PayingShop, buyer: User, cup: Product) -> None:
    """A buyer who is back before the notify sees the order paid; false parameters show nothing."""
    order = order_of(buyer, cup)
    paying.alipay.faults(notify="drop")
    at_the_cashier, _ = scanned(order)
    back = at_the_cashier.pay()
    assert back
    path = back[back.index("/payment") :]
    assert Client().get(path.replace("total_amount=58", "total_amount=59")).headers["Location"] == "/orders/"
    assert status_of(order) == "awaiting_payment"
    assert Client().get(path).headers["Location"] == f"/orders/{order.public_id}/"
    assert status_of(order) == "paid"
    assert Client().get(path).status_code == 302
    assert_no_drift()


def test_the_return_page_without_an_answer(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Where Alipay does not answer, or not with the right amount, the order is shown as it is."""
    order = order_of(buyer, cup)
    paying.alipay.faults(notify="drop", system_error=["alipay.trade.query"])
    at_the_cashier, _ = scanned(order)
    back = at_the_cashier.pay()
    assert back
    path = back[back.index("/payment") :]
    for faults in ({}, {"system_error": [], "notify_amount": "0.01"}):
        paying.alipay.faults(**faults)
        assert Client().get(path).headers["Location"] == f"/orders/{order.public_id}/"
        assert status_of(order) == "awaiting_payment"
    assert Client().get("/payment/alipay/return/").headers["Location"] == "/orders/"


def test_no_answer_keeps_the_order_held(paying: PayingShop, buyer: User, cup: Product) -> None:
    """While Alipay says SYSTEM_ERROR nothing is given back; once it answers, the money wins."""
    order = order_of(buyer, cup)
    paying.alipay.faults(notify="drop", system_error=["alipay.trade.close"])
    at_the_cashier, number = scanned(order)
    assert at_the_cashier.pay()
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.UNANSWERED
    assert (status_of(order), state_of(number)) == ("closing expired", State.UNKNOWN)
    assert stock_of(cup) == (10, 1)
    paying.alipay.faults(system_error=[])
    assert lapse(order) == Outcome.PAID
    assert_no_drift()


def test_a_wrong_amount_found_by_asking(
    paying: PayingShop, buyer: User, cup: Product, caplog: pytest.LogCaptureFixture
) -> None:
    """R13: Alipay names another amount when it is asked. What was paid goes back, the order lapses, the log says so."""
    order = order_of(buyer, cup)
    paying.alipay.faults(notify="drop", notify_amount="0.01")
    at_the_cashier, number = scanned(order)
    assert at_the_cashier.pay()
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.UNANSWERED
    assert status_of(order) == "closing expired"
    assert stock_of(cup) == (10, 1)
    assert any(record.levelname == "WARNING" and "0.01" in record.message for record in caplog.records)
    assert reconcile()[Settled.REFUNDED] == 1
    assert state_of(number) == State.REFUNDED
    assert lapse(order) == Outcome.LAPSED
    assert stock_of(cup) == (10, 0)
    assert trail_of(order)[-3:] == [
        "refund due: 0.01",
        "refunded: 0.01",
        "cancelled: expired",
    ]
    assert_no_drift()


# --- the races ---


def is_settled(order: Order) -> bool:
    """Whether the order is paid or cancelled."""
    return status_of(order) in ("paid", "cancelled expired")


def test_the_notify_comes_while_the_order_is_closing(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Forced: Alipay's answer to close takes its time, meanwhile the notify pays; the worker then changes nothing."""
    order = order_of(buyer, cup)
    paying.alipay.faults(notify="delay", notify_delay=0.5, hanging=["alipay.trade.close"], hang=2)
    at_the_cashier, _ = scanned(order)
    assert at_the_cashier.pay()
    let_time_pass(order, HALF_AN_HOUR)
    outcomes: list[Outcome] = []

    def work() -> None:
        try:
            outcomes.append(lapse(order))
        finally:
            connections.close_all()

    worker = Thread(target=work)
    worker.start()
    assert eventually(lambda: status_of(order) == "paid")
    assert worker.is_alive()
    worker.join()
    assert outcomes == [Outcome.NOT_UNPAID]
    assert status_of(order) == "paid"
    assert order.audit_trail.filter(what="paid").count() == 1
    assert_no_drift()


def test_the_order_lapses_before_the_notify(paying: PayingShop, buyer: User, cup: Product) -> None:
    """R3: forced the other way. The order is cancelled, then money is reported: reinstated, and paid."""
    order = order_of(buyer, cup)
    _, number = scanned(order)
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.LAPSED
    paying.alipay.notify(number, trade_status="TRADE_SUCCESS")
    assert eventually(lambda: state_of(number) == State.SUCCEEDED)
    assert status_of(order) == "paid"
    assert stock_of(cup) == (9, 0)
    trail = trail_of(order)
    assert trail[-3:] == ["cancelled: expired", "reinstated: late_money", "paid"]
    assert_no_drift()


def test_pay_and_lapse_at_the_same_moment(paying: PayingShop, buyer: User, cup: Product) -> None:
    """The first at Alipay wins, and shop and Alipay agree: paid and sold, or cancelled and closed."""
    for round_ in range(8):
        order = order_of(buyer, cup)
        at_the_cashier, number = scanned(order)
        let_time_pass(order, HALF_AN_HOUR)
        calls: list[Callable[[], object]] = [at_the_cashier.pay, partial(lapse, order)]
        together(*(calls if round_ % 2 else reversed(calls)))
        assert eventually(partial(is_settled, order))
        trade = paying.alipay.trade(number)
        assert trade
        won = {"paid": ("TRADE_SUCCESS", State.SUCCEEDED), "cancelled expired": ("TRADE_CLOSED", State.CLOSED)}
        assert (trade["trade_status"], state_of(number)) == won[status_of(order)]
    sold = Order.objects.filter(status=Status.PAID).count()
    assert stock_of(cup) == (10 - sold, 0)
    assert eventually(lambda: all(n["done"] for t in paying.alipay.trades() for n in t["notifies"]))
    assert not GatewayMessage.objects.exclude(judged=Judged.ACCEPTED).exists()
    assert_no_drift()


# --- the set-up ---


def test_without_settings_the_shop_says_so(shop: Settings, buyer: User, cup: Product) -> None:
    """The shop is open, paying is a clear 503 on the page and in the API, and the check warns."""
    shop.SHOP_GATEWAY = "alipay"
    shop.ALIPAY = dict.fromkeys(settings.ALIPAY, "")
    order = order_of(buyer, cup)
    answer = api_of(buyer)("POST", f"/orders/{order.public_id}/pay")
    assert (answer.status_code, answer.json()["code"]) == (503, "payment-unavailable")
    page = signed_in(buyer).post(f"/orders/{order.public_id}/pay/")
    assert page.status_code == 503
    assert "Payment is not possible at the moment" in page.content.decode()
    assert PaymentAttempt.objects.count() == 0
    assert "payments.W001" in [one.id for one in run_checks()]
    assert Client().post("/payment/alipay/notify/", {}).content == b"failure"
    assert Client().get("/payment/alipay/return/").status_code == 302
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.LAPSED


def test_wrong_settings_are_an_error_of_the_check(
    paying: PayingShop, buyer: User, cup: Product, shop: Settings
) -> None:
    """A key that is none: paying is refused as without settings, and held stock stays held until the key is fixed."""
    del paying
    order = order_of(buyer, cup)
    link_of(order)
    right = shop.ALIPAY
    shop.ALIPAY = {**right, "private_key": "no key"}
    assert "payments.E001" in [one.id for one in run_checks()]
    assert api_of(buyer)("POST", f"/orders/{order.public_id}/pay").status_code == 503
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.UNANSWERED
    shop.ALIPAY = right
    assert lapse(order) == Outcome.LAPSED


def test_the_development_gateway_is_not_there_unless_chosen(shop: Settings, buyer: User, cup: Product) -> None:
    """Its page pays without money: where Alipay is chosen it is a 404, and its attempts get no new link."""
    order = order_of(buyer, cup)
    page = payment_link(order.pk)
    assert Client().get(page).status_code == 200
    assert "payments.W002" in [one.id for one in run_checks(include_deployment_checks=True)]
    shop.SHOP_GATEWAY = "alipay"
    for answer in (Client().get(page), Client().post(page)):
        assert answer.status_code == 404
    assert api_of(buyer)("POST", f"/orders/{order.public_id}/pay").status_code == 503
    assert status_of(order) == "awaiting_payment"
    let_time_pass(order, HALF_AN_HOUR)
    assert lapse(order) == Outcome.LAPSED
