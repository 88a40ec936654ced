"""A merchant gives buyers more time: in the console for one or many orders, by the API, and with a new link to pay."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from lapse.integrations.django import timer
from lapse.integrations.django.attempts import State
from lapse.orders import Extended, Outcome, Revived
from lapse.testing.alipay import Buyer
from shop.catalogue.models import Product
from shop.orders import more_time
from shop.orders.models import Order, Reason
from shop.orders.refusals import AlreadyPaid, LinkStillOpen, TooLate
from shop.orders.transitions import cancel
from shop.payments.links import payment_link
from shop.payments.models import PaymentAttempt
from shop.statistics.models import Event, Tally
from tests.gateways.listening import eventually
from tests.shop.alipay_rehearsal import PayingShop, lapse, let_time_pass, link_of, scanned, state_of, status_of
from tests.shop.alipay_shop import paying as paying  # noqa: PLC0414  # pytest finds a fixture by its name here
from tests.shop.rehearsal import api_of, assert_no_drift, make_overdue, order_of, report_paid, stock_of, together

HALF_AN_HOUR = 1800.0


@pytest.fixture
def desk(merchant: User) -> Client:
    """Return a browser in which the merchant has signed in."""
    client = Client()
    client.force_login(merchant)
    return client


def extend(order: Order, minutes: int = 60) -> Extended:
    """Extend the order, as the console does."""
    return more_time.extend([order], minutes=minutes, who="merchant 1")[order.public_id]


def revive(order: Order) -> Revived:
    """Revive the order for an hour, as the console does."""
    return more_time.revive([order], minutes=60, who="merchant 1")[order.public_id]


def expired(buyer: User, product: Product) -> Order:
    """Return an order that has expired."""
    order = order_of(buyer, product)
    make_overdue(order)
    assert lapse(order) is Outcome.LAPSED
    return order


def press(desk: Client, address: str, **fields: object) -> str:
    """Send a form of the console, and return the page that follows."""
    return unescape(desk.post(f"/console/orders/{address}", fields, follow=True).content.decode())


def trail_of(order: Order) -> list[str]:
    """Return the events of the order itself, without those of its attempts."""
    return list(order.audit_trail.filter(subject="order").values_list("what", flat=True))


# --- the link ---


@pytest.mark.parametrize("scan", [True, False])
def test_m9_r17_an_extended_order_gets_a_new_link(paying: PayingShop, buyer: User, cup: Product, scan: bool) -> None:
    """The link ended with the first deadline. It is closed at Alipay and replaced; the new one pays the order."""
    order = order_of(buyer, cup)
    link, first = link_of(order)
    if scan:
        assert Buyer(link).scan()
    let_time_pass(order, HALF_AN_HOUR - 1)  # its link ended a second ago; without a scan, Alipay knows no trade
    PaymentAttempt.objects.update(expires_at=F("expires_at") - timedelta(seconds=5))
    assert extend(order) is Extended.EXTENDED
    new, second = link_of(order)
    assert second != first
    assert (state_of(first), state_of(second)) == (State.CLOSED, State.PENDING)
    assert link_of(order)[1] == second
    again = Buyer(new)
    assert again.scan()
    assert again.pay()
    assert eventually(lambda: status_of(order) == "paid")
    assert not scan or paying.alipay.trade(first)["trade_status"] == "TRADE_CLOSED"  # type: ignore[index] # it was scanned
    assert_no_drift()


def test_m9_r17_an_open_link_with_enough_time_is_used_again(paying: PayingShop, buyer: User, cup: Product) -> None:
    """An extension alone replaces nothing: the buyer may be at the cashier."""
    del paying
    order = order_of(buyer, cup)
    _, first = link_of(order)
    extend(order)
    assert link_of(order)[1] == first


def test_m9_r17_the_old_link_was_paid(paying: PayingShop, buyer: User, cup: Product) -> None:
    """The notify was lost: the close finds the money, and no second attempt is opened."""
    paying.alipay.faults(notify="drop")
    order = order_of(buyer, cup)
    cashier, number = scanned(order)
    cashier.pay()
    let_time_pass(order, HALF_AN_HOUR - 1)
    extend(order)
    with pytest.raises(AlreadyPaid):
        payment_link(order.pk)
    assert (status_of(order), state_of(number)) == ("paid", State.SUCCEEDED)
    assert PaymentAttempt.objects.count() == 1
    assert_no_drift()


@pytest.mark.parametrize("answers", [True, False])
def test_m9_r17_no_second_link_while_the_old_one_can_be_paid(
    paying: PayingShop, shop: Settings, buyer: User, cup: Product, answers: bool
) -> None:
    """It was not scanned, so Alipay has nothing to close; or Alipay does not answer. The buyer may try again soon."""
    shop.LEAST_TIME_TO_PAY = timedelta(minutes=2)
    order = order_of(buyer, cup)
    _, number = link_of(order)
    let_time_pass(order, HALF_AN_HOUR - 100)  # fewer than two minutes are left
    extend(order)
    if not answers:
        paying.alipay.faults(system_error=["alipay.trade.close", "alipay.trade.query"])
    with pytest.raises(LinkStillOpen) as refused:
        payment_link(order.pk)
    assert 3 <= refused.value.details["retry_after"] <= 101
    answer = api_of(buyer)("POST", f"/orders/{order.public_id}/pay")
    assert (answer.status_code, answer.json()["code"]) == (503, "link-still-open")
    assert int(answer.headers["Retry-After"]) <= 101
    client = Client()
    client.force_login(buyer)
    page = client.post(f"/orders/{order.public_id}/pay/")
    assert page.status_code == 503
    assert "An earlier payment link of this order is still open" in page.content.decode()
    assert list(PaymentAttempt.objects.values_list("reference", flat=True)) == [number]
    paying.alipay.faults(system_error=[])
    PaymentAttempt.objects.update(expires_at=Now() - timedelta(seconds=5))
    assert link_of(order)[1] != number


def test_m9_r17_two_tabs_replace_one_link(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Both find the old link; one new attempt is opened, and nothing closes it."""
    del paying
    order = order_of(buyer, cup)
    scanned(order)
    let_time_pass(order, HALF_AN_HOUR - 1)
    extend(order)
    links = together(*[lambda: payment_link(order.pk)] * 4)
    opened = PaymentAttempt.objects.exclude(state=State.CLOSED)
    assert opened.count() == 1
    assert PaymentAttempt.objects.count() == 2
    assert all(isinstance(link, LinkStillOpen) or opened.get().reference in link for link in links), links


def test_a_link_is_still_refused_near_the_deadline(paying: PayingShop, buyer: User, cup: Product) -> None:
    """No new link would have enough time either, so nothing is closed."""
    del paying
    order = order_of(buyer, cup)
    _, number = link_of(order)
    let_time_pass(order, HALF_AN_HOUR - 6)
    with pytest.raises(TooLate, match="Too little"):
        payment_link(order.pk)
    assert state_of(number) == State.PENDING


# --- one order in the console ---


def test_one_order_is_extended_in_the_console(desk: Client, merchant: User, buyer: User, cup: Product) -> None:
    """The deadline and the timer move, and the trail names the merchant. Less time changes nothing."""
    order = order_of(buyer, cup)
    assert "data-extend" in desk.get(f"/console/orders/{order.public_id}/").content.decode()
    assert "more time. The countdown" in press(desk, f"{order.public_id}/extend/", minutes=90)
    before, after = order.pay_by, Order.objects.get().pay_by
    assert timedelta(minutes=59) < after - before < timedelta(minutes=61)
    armed = timer()
    assert armed is not None
    assert abs(armed.stats().next_due - after) < timedelta(milliseconds=2)  # type: ignore[operator] # it is armed
    entry = order.audit_trail.last()
    assert entry
    assert (entry.what, entry.actor, entry.actor_id) == ("extended", "merchant", str(merchant.pk))
    assert entry.detail == f"{after:%Y-%m-%d %H:%M:%S} UTC"
    assert "has this much time already" in press(desk, f"{order.public_id}/extend/", minutes=30)
    for wrong in ("", "0", "-5", "1.5", "10081", "9" * 30, "十"):
        assert "as a whole number from 1 to 10080" in press(desk, f"{order.public_id}/extend/", minutes=wrong), wrong
    assert Order.objects.get().pay_by == after
    assert_no_drift()


def test_r24_one_order_is_revived_in_the_console_and_cancelled_again(
    desk: Client, merchant: User, buyer: User, cup: Product
) -> None:
    """The stock is held again, and comes back once. The figures count both cancels and the revival."""
    order = expired(buyer, cup)
    assert "data-revive" in desk.get(f"/console/orders/{order.public_id}/").content.decode()
    assert "unpaid again, and its stock is held" in press(desk, f"{order.public_id}/revive/", minutes=30)
    assert (status_of(order), stock_of(cup)) == ("awaiting_payment", (10, 1))
    assert "has changed meanwhile" in press(desk, f"{order.public_id}/revive/", minutes=30)
    assert_no_drift()
    cancel(order.pk, reason=Reason.MERCHANT, who=f"merchant {merchant.pk}")
    assert (status_of(order), stock_of(cup)) == ("cancelled merchant", (10, 0))
    assert "data-revive" not in desk.get(f"/console/orders/{order.public_id}/").content.decode()
    assert "its stock is gone, or it did not expire" in press(desk, f"{order.public_id}/revive/", minutes=30)
    assert trail_of(order) == ["placed", "cancelled", "revived", "cancelled"]
    entry = order.audit_trail.get(what="revived")
    assert (entry.before, entry.after) == ("cancelled", "awaiting_payment")
    assert (entry.actor, entry.actor_id) == ("merchant", str(merchant.pk))
    counted = dict(Tally.objects.values_list("event", "count"))
    assert (counted[Event.EXPIRED], counted[Event.REINSTATED], counted[Event.MERCHANT]) == (1, 1, 1)
    assert_no_drift()


def test_r24_a_revived_order_is_paid(buyer: User, cup: Product) -> None:
    """Its page says nothing of a payment that came too late; the order counts as reinstated and paid."""
    order = expired(buyer, cup)
    assert revive(order) is Revived.REVIVED
    payment_link(order.pk)
    report_paid(PaymentAttempt.objects.get().reference)
    client = Client()
    client.force_login(buyer)
    assert 'data-money="reinstated"' not in client.get(f"/orders/{order.public_id}/").content.decode()
    assert (status_of(order), stock_of(cup)) == ("paid", (9, 0))
    assert trail_of(order) == ["placed", "cancelled", "revived", "paid"]
    assert_no_drift()


def test_r24_late_money_of_the_former_life_pays_the_revived_order(buyer: User, cup: Product) -> None:
    """The link was closed when the order lapsed; its money comes after the revival, through the one door."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    make_overdue(order)
    assert lapse(order) is Outcome.LAPSED
    revive(order)
    report_paid(PaymentAttempt.objects.get().reference)
    assert (status_of(order), stock_of(cup)) == ("paid", (9, 0))
    assert_no_drift()


def test_r24_the_last_piece_is_sold_or_revived(buyer: User, rival: User, pot: Product) -> None:
    """Never both, never neither."""
    order = expired(buyer, pot)
    revived, sold = together(lambda: revive(order), lambda: order_of(rival, pot))
    assert (revived is Revived.REVIVED) is not isinstance(sold, Order)
    assert stock_of(pot) == (1, 1)
    assert_no_drift()


# --- many orders ---


def test_many_orders_after_a_confirmation_that_says_how_many(
    desk: Client, buyer: User, rival: User, cup: Product
) -> None:
    """Those that are ticked, or all that the search finds; an order that is placed after the count is not meant."""
    mine, other, theirs = order_of(buyer, cup), order_of(buyer, cup), order_of(rival, cup)
    gone = expired(buyer, cup)
    fields = {"action": "extend", "minutes": 90}
    ticked = press(desk, "more-time/", order=[mine.public_id, gone.public_id], **fields)
    assert 'data-confirm="1"' in ticked
    assert Order.objects.get(pk=mine.pk).pay_by == mine.pay_by
    found = press(desk, "more-time/", scope="found", q="mei@", **fields)
    assert 'data-confirm="2"' in found
    newest = re.findall(r'name="newest" value="(\d+)"', found)[0]
    late = order_of(buyer, cup)
    fields |= {"scope": "found", "q": "mei@", "newest": newest, "confirmed": "yes"}
    assert "2 orders were changed." in press(desk, "more-time/", **fields)
    moved = [one for one in (mine, other, theirs, late) if Order.objects.get(pk=one.pk).pay_by > one.pay_by]
    assert moved == [mine, other]
    assert "Not changed: enough time already (2)." in press(desk, "more-time/", **fields | {"minutes": 10})
    assert_no_drift()


def test_many_orders_are_revived_while_the_stock_lasts(desk: Client, buyer: User, pot: Product) -> None:
    """The oldest comes first; the others stay cancelled and are named."""
    first = expired(buyer, pot)
    second = expired(buyer, pot)
    fields = {"action": "revive", "minutes": 30, "order": [second.public_id, first.public_id]}
    assert 'data-confirm="2"' in press(desk, "more-time/", **fields)
    said = press(desk, "more-time/", confirmed="yes", **fields)
    assert "1 order was changed. Not changed: sold out (1)." in said
    assert (status_of(first), status_of(second)) == ("awaiting_payment", "cancelled expired")
    assert_no_drift()


def test_too_many_or_none(desk: Client, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is changed, and the page says why."""
    orders = [order_of(buyer, cup) for _ in range(3)]
    monkeypatch.setattr("shop.console.more_time.MOST_ORDERS", 2)
    fields = {"action": "extend", "minutes": 90, "scope": "found", "confirmed": "yes"}
    assert "data-too-many" in press(desk, "more-time/", **fields)
    assert "None of these orders" in press(desk, "more-time/", **fields | {"action": "revive"})
    assert "None of these orders" in press(desk, "more-time/", **fields | {"scope": "chosen"})
    for wrong in ({"action": "delete"}, {"minutes": "soon"}):
        assert "as a whole number" in press(desk, "more-time/", **fields | wrong)
    assert list(Order.objects.order_by("pk").values_list("pay_by", flat=True)) == [order.pay_by for order in orders]


# --- the API, and who may ---


def test_the_api_extends_and_revives(merchant: User, buyer: User, cup: Product) -> None:
    """One order with its new deadline or a reason; many with one word for each."""
    api = api_of(merchant)
    order, gone = order_of(buyer, cup), expired(buyer, cup)
    done = api("POST", f"/orders/{order.public_id}/extend", {"minutes": 90})
    assert (done.status_code, done.json()["outcome"]) == (200, "extended")
    again = api("POST", f"/orders/{order.public_id}/extend", {"minutes": 5})
    assert (again.status_code, again.json()["code"]) == (409, "not-later")
    assert api("POST", f"/orders/{gone.public_id}/extend", {"minutes": 5}).json()["code"] == "not-unpaid"
    assert api("POST", f"/orders/{'0' * 32}/extend", {"minutes": 5}).status_code == 404
    assert api("POST", f"/orders/{order.public_id}/extend", {"minutes": 0}).status_code == 422
    ids = [gone.public_id, order.public_id, "0" * 32]
    many = api("POST", "/orders/revive", {"ids": ids, "minutes": 30})
    assert many.json() == {"outcomes": dict(zip(ids, ["revived", "not cancelled", "unknown"], strict=True))}
    assert api("POST", "/orders/extend", {"ids": ids[:1], "minutes": 60}).json()["outcomes"] == {ids[0]: "extended"}
    assert api("POST", f"/orders/{ids[0]}/revive", {"minutes": 30}).json()["code"] == "not-cancelled"
    assert_no_drift()


@pytest.mark.parametrize("call", ["extend", "revive"])
def test_only_a_merchant_who_may_gives_more_time(merchant: User, buyer: User, cup: Product, call: str) -> None:
    """Neither a visitor, nor the buyer, nor staff without the permission."""
    order = order_of(buyer, cup)
    body, many = {"minutes": 90}, {"minutes": 90, "ids": [order.public_id]}
    merchant.groups.clear()
    for user, expected in ((None, 401), (buyer, 403), (merchant, 403)):
        api = api_of(user)
        assert api("POST", f"/orders/{order.public_id}/{call}", body).status_code == expected
        assert api("POST", f"/orders/{call}", many).status_code == expected
    client = Client()
    for user in (buyer, merchant):
        client.force_login(user)
        assert client.post(f"/console/orders/{order.public_id}/{call}/", body).status_code == 403
        assert client.post("/console/orders/more-time/", body).status_code == 403
    assert Order.objects.get().pay_by == order.pay_by
