"""The work list of money: what is on it, what a merchant does about it, and that it empties."""

import re
from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client

from lapse.integrations.django import unpaid_orders
from lapse.integrations.django.attempts import State
from lapse.orders import Attempt, LateMoney, Refund, RefundState, Ruling, Verdict
from shop.catalogue.models import Product
from shop.console.models import WorkerHeartbeat
from shop.lapsing import ShopOrders
from shop.orders.events import Subject
from shop.orders.models import Order, Reason
from shop.orders.transitions import cancel
from shop.payments.development import DevelopmentGateway
from shop.payments.links import payment_link
from shop.payments.models import WORK_LIST, PaymentAttempt
from tests.shop.rehearsal import assert_no_drift, in_short, order_of, reconcile, report_paid, together

ACTIONS = ("ask", "refund", "reinstate", "write-off", "alarm", "assign", "note")


@pytest.fixture
def client(merchant: User) -> Client:
    """Return a browser in which the merchant has signed in, in a shop whose worker is alive."""
    WorkerHeartbeat.objects.create(host="here", pid=7, mechanism="memory")
    client = Client()
    client.force_login(merchant)
    return client


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a person decide about late money."""
    monkeypatch.setattr(ShopOrders, "late_money", LateMoney.REVIEW)


def page(client: Client, address: str = "/console/money/") -> str:
    """Return the page."""
    answer = client.get(address)
    assert answer.status_code == 200, answer
    return unescape(answer.content.decode())


def press(client: Client, number: str, action: str, **fields: str) -> str:
    """Press a button of the work list, and return the page that follows."""
    return unescape(client.post(f"/console/money/{number}/{action}/", fields, follow=True).content.decode())


def alarms(client: Client) -> list[str]:
    """Return the alarms about money on the overview."""
    shown = page(client, "/console/")
    return [one for one in re.findall(r"<li>(.*?)</li>", shown) if "money" in one or "refund" in one]


def cancelled(buyer: User, cup: Product) -> str:
    """Place an order with a link to pay, let its buyer cancel the order, and return the attempt's number."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    cancel(order.pk, reason=Reason.BUYER, who="buyer")
    return PaymentAttempt.objects.get(order=order).reference


def trail() -> list[tuple[str, str]]:
    """Return what the order's audit trail says about money, and who did it."""
    entries = Order.objects.get().audit_trail.filter(subject=Subject.ATTEMPT)
    written = [(in_short(entry), f"{entry.actor} {entry.actor_id}") for entry in entries]
    return [(what, who) for what, who in written if re.match("refund|asked|alarm", what)]


def test_a_refund_that_is_due_is_listed_until_it_is_made(
    client: Client, merchant: User, buyer: User, cup: Product
) -> None:
    """The overview counts it without an alarm, the list has its amount and its next try, and a button tries it now."""
    assert "data-nothing" in page(client)
    number = cancelled(buyer, cup)
    report_paid(number)
    shown = page(client)
    assert f'data-payment="{number}" data-state="orphaned"' in shown
    assert 'data-paid="58.00"' in shown
    assert "asked as soon as a worker can · asked 0 times so far" in shown
    assert 'data-refunds="1"' in page(client, "/console/")
    assert alarms(client) == []
    PaymentAttempt.objects.update(ask_at=Now() + timedelta(hours=1), asks=3)
    assert re.search(r"asked again at \d\d:\d\d:\d\d UTC · asked 3 times so far", page(client))
    assert "A worker asks the payment service within seconds." in press(client, number, "ask")
    assert unpaid_orders().reconciler().once().total() == 1, "it did not wait for the hour"
    assert "data-nothing" in page(client)
    assert "another person or a report came first" in press(client, number, "ask")
    assert trail() == [
        ("refund due: 58.00", "gateway development"),
        ("asked_again", f"merchant {merchant.pk}"),
        ("refunded: 58.00", "gateway development"),
    ]
    assert_no_drift()


def test_a_refund_that_is_not_carried_out_becomes_an_alarm(client: Client, buyer: User, cup: Product) -> None:
    """Tried six times, or nothing stored for ten minutes because no gateway answers or no worker asks."""
    report_paid(cancelled(buyer, cup))
    for stuck in ({"asks": 6}, {"changed_at": Now() - timedelta(minutes=11)}):
        assert alarms(client) == []
        PaymentAttempt.objects.update(**stuck)
        assert alarms(client) == ["1 refund is due and has not been carried out for some minutes."]
        PaymentAttempt.objects.update(asks=0, changed_at=Now())


@pytest.mark.usefixtures("late")
def test_a_wrong_amount_is_decided_by_a_person(client: Client, merchant: User, buyer: User, cup: Product) -> None:
    """M5: the row names both amounts and the order; the decision is kept with who made it, and the list empties."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    number = PaymentAttempt.objects.get().reference
    report_paid(number, amount=Decimal("50.00"))
    shown = page(client)
    assert "50.00 was paid, and 58.00 was due" in shown
    assert ('data-due="58.00"' in shown, 'data-paid="50.00"' in shown) == (True, True)
    assert f"/console/orders/{order.public_id}/" in shown
    assert "¥50.00 goes back to the buyer by development." in shown
    assert alarms(client) == ["1 payment needs a decision: its money is not where it belongs."]
    assert "The money goes back to the buyer." in press(client, number, "refund")
    assert alarms(client) == []
    assert "another person or a report came first" in press(client, number, "refund"), "a second person comes too late"
    reconcile()
    assert "data-nothing" in page(client)
    attempt = PaymentAttempt.objects.get()
    assert attempt.state == State.REFUNDED
    assert attempt.refunded == attempt.paid == Decimal("50.00")
    assert ("refund decided: 50.00", f"merchant {merchant.pk}") in trail()
    assert ("refunded: 50.00", "gateway development") in trail()
    assert len([what for what, _ in trail() if what.startswith("refund decided")]) == 1
    assert_no_drift()


@pytest.mark.usefixtures("late")
def test_a_refund_at_the_gateways_own_console_leaves_the_list(client: Client, buyer: User, cup: Product) -> None:
    """M10: the merchant has refunded elsewhere. The next report says so, and the payment is gone from the list."""
    number = cancelled(buyer, cup)
    report_paid(number)
    assert "58.00 was paid after the order was cancelled" in page(client)
    report_paid(number, refunded=Decimal("58.00"))
    assert "data-nothing" in page(client)
    assert alarms(client) == []
    assert_no_drift()


def test_a_refund_that_the_gateway_refuses_needs_a_person(
    client: Client, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on the list with the gateway's reason, as text; the decision to try again empties the list."""
    number = cancelled(buyer, cup)
    report_paid(number)

    def refuse(_gateway: DevelopmentGateway, attempt: Attempt, _amount: Decimal) -> Refund:
        return Refund(attempt, RefundState.REFUSED, reason="<b>not</b> enough \u202emoney")

    with monkeypatch.context() as patched:
        patched.setattr(DevelopmentGateway, "refund", refuse)
        reconcile()
    shown = client.get("/console/money/").content.decode()
    assert r"the gateway refuses to refund 58.00: &lt;b&gt;not&lt;/b&gt; enough \u202emoney" in shown
    assert len(alarms(client)) == 1
    press(client, number, "refund")
    reconcile()
    assert "data-nothing" in page(client)
    assert_no_drift()


def test_an_alarm_of_a_payment_that_is_where_it_belongs(
    client: Client, merchant: User, buyer: User, cup: Product
) -> None:
    """Two numbers for one attempt: the order stays paid. A merchant removes the alarm, and the trail keeps it."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    number = PaymentAttempt.objects.get().reference
    report_paid(number, provider_reference="1")
    report_paid(number, provider_reference="2")
    assert "two payments for one attempt: 1 and 2" in page(client)
    assert len(alarms(client)) == 1
    assert "another person or a report came first" in press(client, number, "refund"), "its money has paid the order"
    assert "The alarm is removed." in press(client, number, "alarm")
    assert "data-nothing" in page(client)
    assert "another person or a report came first" in press(client, number, "alarm")
    entries = list(Order.objects.get().audit_trail.values_list("what", "detail", "actor", "actor_id"))
    assert entries[-2:] == [
        ("alarm", "two payments for one attempt: 1 and 2", "gateway", "development"),
        ("alarm_removed", "two payments for one attempt: 1 and 2", "merchant", str(merchant.pk)),
    ]
    assert_no_drift()


@pytest.mark.usefixtures("late")
def test_two_merchants_decide_at_once(client: Client, buyer: User, cup: Product) -> None:
    """One of them decides, the other learns that nothing was changed, and the money goes back once."""
    number = cancelled(buyer, cup)
    report_paid(number)
    pages = together(lambda: press(client, number, "refund"), lambda: press(client, number, "refund"))
    assert sorted("The money goes back" in shown for shown in pages) == [False, True]
    reconcile()
    assert [what for what, _ in trail()].count("refund decided: 58.00") == 1
    assert [what for what, _ in trail()].count("refunded: 58.00") == 1
    assert_no_drift()


@pytest.mark.usefixtures("late")
def test_who_may_look_may_not_decide(client: Client, merchant: User, buyer: User, cup: Product) -> None:
    """Deciding has a permission of its own, takes a POST only, and Django's token against forged requests."""
    number = cancelled(buyer, cup)
    report_paid(number)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    addresses = [f"/console/money/{number}/{action}/" for action in ACTIONS]
    assert {client.get(address).status_code for address in addresses} == {405}
    assert {strict.post(address).status_code for address in addresses} == {403}
    assert client.post("/console/money/unknown/refund/").status_code == 404
    merchant.groups.clear()
    merchant.user_permissions.set(Permission.objects.filter(codename="view_paymentattempt"))
    assert "<form" not in page(client).split('<ul class="money">')[1].split("</ul>")[0]
    assert {client.post(address).status_code for address in addresses} == {403}
    assert PaymentAttempt.objects.get().state == State.REVIEW


def test_the_list_is_read_by_its_index(buyer: User, cup: Product) -> None:
    """The overview refreshes itself every few seconds: it reads the payments that wait, and no others."""
    cancelled(buyer, cup)
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")  # the table is too small for an index to be worth it
    plan = PaymentAttempt.objects.filter(WORK_LIST).explain()
    assert "attempt_work_list" in plan


def test_the_history_of_an_order_shows_what_was_paid(client: Client, buyer: User, cup: Product) -> None:
    """The page of the order has what was paid and refunded by each attempt, and its alarm."""
    number = cancelled(buyer, cup)
    attempt = PaymentAttempt.objects.get()
    named = Attempt(attempt.order.public_id, number, attempt.gateway)
    unpaid_orders().receive(Ruling(named, Verdict.PAID, amount=Decimal("50.00"), refunded=Decimal("20.00")))
    shown = page(client, f"/console/orders/{attempt.order.public_id}/")
    assert "¥50.00" in shown
    assert "¥20.00" in shown
