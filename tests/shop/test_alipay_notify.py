"""POST /payment/alipay/notify/: `success` exactly when the effect is committed, for any message, however often sent."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from lapse.integrations.django.attempts import State
from lapse.testing.alipay import KeyPair, new_key_pair
from shop.catalogue.models import Product
from shop.orders.models import Reason
from shop.orders.transitions import cancel
from shop.payments import notify
from shop.payments.models import GatewayMessage, Judged
from tests.shop.alipay_rehearsal import NOTIFY, PayingShop, lapse, let_time_pass, link_of, post, state_of, status_of
from tests.shop.alipay_shop import paying as paying  # noqa: PLC0414  # pytest finds a fixture by its name here
from tests.shop.rehearsal import assert_no_drift, order_of, stock_of, together, trail_of

SUCCESS = (200, "success")


@pytest.mark.parametrize("status", ["TRADE_SUCCESS", "TRADE_FINISHED"])
def test_money_pays(paying: PayingShop, buyer: User, cup: Product, status: str) -> None:
    """Both statuses mean that the money has come."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    assert post(paying.form(number, status)) == SUCCESS
    assert (status_of(order), state_of(number)) == ("paid", State.SUCCEEDED)
    assert GatewayMessage.objects.get().judged == Judged.ACCEPTED
    assert_no_drift()


def test_the_same_notify_twice(paying: PayingShop, buyer: User, cup: Product) -> None:
    """One after the other or at once, it is a success each time and has its effect once."""
    order = order_of(buyer, cup)
    form = paying.form(link_of(order)[1])
    assert together(*[lambda: post(form)] * 5) == [SUCCESS] * 5
    assert post(form) == SUCCESS
    assert post(form | {"sign": form["sign"]}) == SUCCESS
    assert GatewayMessage.objects.count() == 1
    assert order.audit_trail.filter(what="paid").count() == 1
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_finished_after_success_is_the_same_money(paying: PayingShop, buyer: User, cup: Product) -> None:
    """R19: it is written down, and nothing more."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    assert post(paying.form(number)) == SUCCESS
    assert post(paying.form(number, "TRADE_FINISHED")) == SUCCESS
    assert GatewayMessage.objects.count() == 2
    assert order.audit_trail.filter(what="paid").count() == 1
    assert_no_drift()


def test_an_attempt_that_is_not_known(paying: PayingShop, transactional_db: None) -> None:
    """Alipay has to send the notify again, and the shop keeps it once, as it came."""
    del transactional_db
    form = paying.form("unknown")
    for _ in range(2):
        assert post(form) == (404, "failure")
    kept = GatewayMessage.objects.get()
    assert (kept.judged, kept.reference) == (Judged.UNKNOWN, "unknown")
    assert "trade_status=TRADE_SUCCESS" in kept.raw or 'name="trade_status"' in kept.raw


@contextmanager
def broken(when: str) -> Iterator[None]:
    """Let the database fail when a message is written: at once, or only at the commit."""
    deferred = "DEFERRABLE INITIALLY DEFERRED" if when == "commit" else ""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk'; END $$"
        )
        cursor.execute(
            f"CREATE CONSTRAINT TRIGGER broken AFTER INSERT ON payments_gatewaymessage {deferred} "
            "FOR EACH ROW EXECUTE FUNCTION broken()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION broken CASCADE")


@pytest.mark.parametrize("when", ["insert", "commit"])
def test_success_is_not_said_before_the_commit(paying: PayingShop, buyer: User, cup: Product, when: str) -> None:
    """A database that fails, even at the commit itself, is a failure and nothing has happened; the next one pays."""
    order = order_of(buyer, cup)
    form = paying.form(link_of(order)[1])
    with broken(when):
        assert post(form) == (503, "failure")
    assert status_of(order) == "awaiting_payment"
    assert GatewayMessage.objects.count() == 0
    assert_no_drift()
    assert post(form) == SUCCESS
    assert status_of(order) == "paid"


@pytest.mark.parametrize(
    ("changes", "judged"),
    [
        ({"total_amount": "0.01"}, Judged.AMOUNT),
        ({"total_amount": "58.01"}, Judged.AMOUNT),
        ({"total_amount": "lots"}, Judged.MALFORMED),
        ({"trade_status": "TRADE_NEW"}, Judged.MALFORMED),
        ({"app_id": "2021000000000000"}, Judged.APP),
        ({"seller_id": "2088000000000000"}, Judged.SELLER),
        ({"sign": "garbage that is no base64 !"}, Judged.SIGNATURE),
        ({"sign": "茶"}, Judged.SIGNATURE),
        ({"sign": ""}, Judged.SIGNATURE),
        ({"sign_type": "RSA"}, Judged.SIGNATURE),
    ],
)
def test_notifies_that_must_not_be_believed(  # noqa: PLR0917  # fixtures come by name
    paying: PayingShop,
    buyer: User,
    cup: Product,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, str],
    judged: Judged,
) -> None:
    """Refused, kept once as it came, logged as an error, and the order untouched."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    form = paying.form(number, **changes)
    with caplog.at_level(logging.ERROR, "shop.payments"):
        for _ in range(2):
            assert post(form) == (400, "failure")
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2
    kept = GatewayMessage.objects.get()
    assert (kept.judged, kept.reference) == (judged, number)
    assert (status_of(order), state_of(number)) == ("awaiting_payment", State.PENDING)
    assert_no_drift()


def test_a_notify_that_was_changed_on_its_way(paying: PayingShop, buyer: User, cup: Product) -> None:
    """The signature is of every field: a changed, an added and a removed one break it; so does a stranger's key."""
    order = order_of(buyer, cup)
    form = paying.form(link_of(order)[1], "WAIT_BUYER_PAY")
    stranger: KeyPair = new_key_pair()
    for changed in (
        form | {"trade_status": "TRADE_SUCCESS"},
        form | {"more": "1"},
        {name: value for name, value in form.items() if name != "notify_id"},
        PayingShop(paying.alipay, stranger).form(form["out_trade_no"]),
    ):
        assert post(changed) == (400, "failure")
    assert status_of(order) == "awaiting_payment"


def test_strangers_cannot_fill_the_table(
    paying: PayingShop, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages without a signature are kept up to a number; those after it are refused all the same."""
    del transactional_db
    monkeypatch.setattr(notify, "MOST_UNSIGNED", 3)
    for number in range(5):
        assert post(paying.form(str(number), sign="x")) == (400, "failure")
    assert GatewayMessage.objects.count() == 3


def test_bodies_that_are_no_form(paying: PayingShop, transactional_db: None) -> None:
    """Any other body is answered by `failure`, and every method but POST is refused."""
    del transactional_db, paying
    client = Client(enforce_csrf_checks=True)
    for body, kind in [
        (b"", "text/plain"),
        (b"\xff\x00=%00", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
    ]:
        answer = client.post(NOTIFY, body, content_type=kind)
        assert (answer.status_code, answer.content) == (400, b"failure")
    assert client.post(NOTIFY, {"trade_no": "a\0b"}).content == b"failure"
    assert client.get(NOTIFY).status_code == 405


def test_a_closed_trade_cancels_no_order(paying: PayingShop, buyer: User, cup: Product) -> None:
    """An unpaid attempt is closed, the order waits on, and the buyer gets a new attempt with another number."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    assert post(paying.form(number, "TRADE_CLOSED")) == SUCCESS
    assert (status_of(order), state_of(number)) == ("awaiting_payment", State.CLOSED)
    _, second = link_of(order)
    assert second != number
    assert post(paying.form(second)) == SUCCESS
    assert status_of(order) == "paid"
    assert_no_drift()


def test_a_closed_trade_that_was_paid_is_a_refund(paying: PayingShop, buyer: User, cup: Product) -> None:
    """R18: the order stays paid; its trail says that the money went back."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    for status in ("TRADE_SUCCESS", "TRADE_CLOSED", "TRADE_CLOSED"):
        assert post(paying.form(number, status)) == SUCCESS
    assert (status_of(order), state_of(number)) == ("paid", State.REFUNDED)
    assert trail_of(order)[-2:] == ["paid", "refunded: 58.00"]
    assert_no_drift()


def test_waiting_says_nothing(paying: PayingShop, buyer: User, cup: Product) -> None:
    """A trade that waits for the buyer changes nothing."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    assert post(paying.form(number, "WAIT_BUYER_PAY")) == SUCCESS
    assert (status_of(order), state_of(number)) == ("awaiting_payment", State.PENDING)


@pytest.mark.parametrize("stock", [10, 0])
def test_money_after_the_order_was_cancelled(
    paying: PayingShop, buyer: User, cup: Product, caplog: pytest.LogCaptureFixture, stock: int
) -> None:
    """R3, R4: it is never swallowed. The order is reinstated once; without stock the money is refunded, and logged."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    let_time_pass(order, 1800)
    lapse(order)
    Product.objects.update(on_hand=stock)
    with caplog.at_level(logging.WARNING, "lapse"):
        assert together(*[lambda: post(paying.form(number))] * 3) == [SUCCESS] * 3
    refunds = sum("It is refunded" in record.message for record in caplog.records)
    trail = trail_of(order)
    if stock:
        assert (status_of(order), state_of(number), refunds) == ("paid", State.SUCCEEDED, 0)
        assert trail[-3:] == ["cancelled: expired", "reinstated: late_money", "paid"]
        assert stock_of(cup) == (9, 0)
    else:
        assert (status_of(order), state_of(number), refunds) == ("cancelled expired", State.REFUND_DUE, 1)
        assert trail[-2:] == ["cancelled: expired", "refund due: 58.00"]
        assert stock_of(cup) == (0, 0)
    assert_no_drift()


def test_two_attempts_of_one_order_are_paid(paying: PayingShop, buyer: User, cup: Product) -> None:
    """R14: the first pays the order, the second is to be refunded."""
    order = order_of(buyer, cup)
    _, first = link_of(order)
    post(paying.form(first, "TRADE_CLOSED"))
    _, second = link_of(order)
    assert post(paying.form(second)) == SUCCESS
    assert post(paying.form(first)) == SUCCESS
    assert (state_of(first), state_of(second)) == (State.REFUND_DUE, State.SUCCEEDED)
    assert order.audit_trail.filter(what="paid").count() == 1
    assert stock_of(cup) == (9, 0)
    assert_no_drift()


def test_notify_and_cancel_at_the_same_moment(paying: PayingShop, buyer: User, cup: Product) -> None:
    """Whichever comes first, the order is paid by the money once, if need be after a reinstatement."""
    for _ in range(6):
        order = order_of(buyer, cup)
        _, number = link_of(order)
        form = paying.form(number)
        let_time_pass(order, 1800)
        answers = together(partial(post, form), partial(lapse, order))
        assert answers[0] == SUCCESS
        assert (status_of(order), state_of(number)) == ("paid", State.SUCCEEDED)
        assert order.audit_trail.filter(what="paid").count() == 1
    assert stock_of(cup) == (4, 0)
    assert_no_drift()


def test_money_wins_over_a_buyer_who_cancels(paying: PayingShop, buyer: User, cup: Product) -> None:
    """A closing order still takes the money."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    cancel(order.pk, reason=Reason.BUYER, who="test")
    assert status_of(order) == "closing buyer"
    assert post(paying.form(number)) == SUCCESS
    assert status_of(order) == "paid"
    assert_no_drift()


@pytest.mark.parametrize("charset", ["GBK", "gb2312", "gb18030", "utf-8"])
def test_d2_a_notify_in_gbk_pays(paying: PayingShop, buyer: User, cup: Product, charset: str) -> None:
    """Alipay notified in GBK, Django read the form as UTF-8, and the signed money was refused. Now it pays."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    assert post(paying.form(number, charset=charset, subject="茶杯，一个", buyer_logon_id="张三")) == SUCCESS
    assert (status_of(order), state_of(number)) == ("paid", State.SUCCEEDED)
    assert_no_drift()


def test_d2_a_notify_in_an_unknown_charset_is_kept(paying: PayingShop, buyer: User, cup: Product) -> None:
    """A charset that the shop does not know is refused and kept, with the numbers that the message names."""
    order = order_of(buyer, cup)
    _, number = link_of(order)
    assert post(paying.form(number, charset="big5", subject="茶杯")) == (400, "failure")
    kept = GatewayMessage.objects.get()
    assert (kept.judged, kept.reference) == (Judged.MALFORMED, number)
    assert status_of(order) == "awaiting_payment"
