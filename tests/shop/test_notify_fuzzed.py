"""Anything may be posted to the notify address: no error 500, and an order is untouched unless the message is right."""

import logging
import re
from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lapse.testing.alipay import sign_notify
from shop.catalogue.models import Product
from shop.orders.models import Order
from shop.payments.models import GatewayMessage, PaymentAttempt
from tests.shop.alipay_rehearsal import NOTIFY, PayingShop, link_of
from tests.shop.alipay_shop import paying as paying  # noqa: PLC0414  # pytest finds a fixture by its name here
from tests.shop.rehearsal import assert_no_drift, order_of

FORM = "application/x-www-form-urlencoded"
CHARSETS = st.sampled_from(
    ["utf-8", "GBK", "gb18030", "big5", "utf-16", "latin-1", "no such charset", "", "\x00", "茶"]
)
TEXTS = st.text(max_size=200) | st.sampled_from(
    ["", "0", "-58.00", "58.0", "58.00 ", "5.8e1", "NaN", "Infinity", "٥٨.٠٠", "9" * 400, "\x00", "\ud800", "58.00\n"]
)
NAMES = st.sampled_from(
    [
        "out_trade_no",
        "trade_no",
        "trade_status",
        "total_amount",
        "refund_fee",
        "app_id",
        "seller_id",
        "charset",
        "sign",
        "sign_type",
        "gmt_payment",
        "gmt_refund",
        "notify_id",
        "subject",
    ]
)
STATUSES = st.sampled_from(["TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED", "WAIT_BUYER_PAY", "trade_success", ""])

SHORT = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=600)


@pytest.fixture
def order(paying: PayingShop, buyer: User, cup: Product) -> Iterator[tuple[Order, str]]:
    """Place an order with an open link; yield the order and the attempt's number. The books are right afterwards."""
    del paying
    placed = order_of(buyer, cup)
    logging.disable(logging.CRITICAL)
    yield placed, link_of(placed)[1]
    logging.disable(logging.NOTSET)
    assert_no_drift()


def send(body: bytes, content_type: str = FORM) -> tuple[int, str]:
    """Post these bytes to the notify's address; return the status and the body of the answer."""
    answer = Client(enforce_csrf_checks=True).generic("POST", NOTIFY, body, content_type=content_type)
    return answer.status_code, answer.content.decode()


def assert_untouched(order: Order, number: str, answer: tuple[int, str]) -> None:
    """Assert that the message was refused, and that nothing was believed."""
    assert answer in [(400, "failure"), (404, "failure")], answer
    order.refresh_from_db()
    attempt = PaymentAttempt.objects.get(reference=number)
    assert order.status == "awaiting_payment"
    assert attempt.paid is None
    assert attempt.refunded == 0
    assert attempt.state in ("created", "pending")
    assert not GatewayMessage.objects.filter(judged="accepted").exists()


def _bytes(order: tuple[Order, str], body: bytes, content_type: str) -> None:
    assert_untouched(*order, send(body, content_type))


BYTES = given(
    body=st.binary(max_size=2000)
    | st.lists(st.tuples(NAMES, TEXTS), max_size=20).map(lambda fields: urlencode(fields, errors="replace").encode()),
    content_type=st.sampled_from(
        [FORM, "multipart/form-data; boundary=x", "application/json", "", "text/plain", "a\x7fb"]
    )
    | CHARSETS.filter(str.isprintable).filter(str.isascii).map(lambda charset: f"{FORM}; charset={charset}"),
)


@SHORT
@BYTES
def test_bytes_without_a_signature_change_nothing(order: tuple[Order, str], body: bytes, content_type: str) -> None:
    """Any bytes in any content type and charset are refused."""
    _bytes(order, body, content_type)


@pytest.mark.long
@LONG
@BYTES
def test_many_bytes_without_a_signature_change_nothing(
    order: tuple[Order, str], body: bytes, content_type: str
) -> None:
    """The same with many examples."""
    _bytes(order, body, content_type)


@pytest.mark.parametrize("size", [20_000, 3_000_000])
def test_a_huge_signed_body_changes_nothing(paying: PayingShop, order: tuple[Order, str], size: int) -> None:
    """A notify is read whole or refused, and a buyer who has not paid has not paid."""
    form = paying.form(order[1], "WAIT_BUYER_PAY", subject="t" * size)
    status, _ = send(urlencode(form).encode())
    assert status < 500
    order[0].refresh_from_db()
    assert order[0].status == "awaiting_payment"


def _signed(paying: PayingShop, number: str, changes: dict[str, str]) -> bytes | None:
    """Return a notify that Alipay has signed with these fields; None if Alipay could not write it in its charset."""
    form = {**paying.form(number), **changes}
    form.pop("sign")
    try:
        return urlencode(sign_notify(form, paying.alipays_keys.private), encoding=form.get("charset", "utf-8")).encode()
    except (LookupError, ValueError):
        return None


def _is_right(amount: str) -> bool:
    """Return whether this is the order's amount, in any way in which Alipay may write it."""
    return re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,2})?", amount) is not None and Decimal(amount) == Decimal("58.00")


AMOUNTS = TEXTS | st.decimals(0, 100, places=2).map("{:.2f}".format)
WRONG = st.one_of(
    st.fixed_dictionaries({"total_amount": AMOUNTS.filter(lambda amount: not _is_right(amount))}),
    st.fixed_dictionaries({"app_id": TEXTS}),
    st.fixed_dictionaries({"seller_id": TEXTS}),
    st.fixed_dictionaries({"out_trade_no": TEXTS}),
    st.fixed_dictionaries({"trade_status": TEXTS}),
)
HARMLESS = {"trade_no", "refund_fee", "charset", "gmt_payment", "gmt_refund", "notify_id", "subject"}
MORE = st.dictionaries(NAMES.filter(lambda name: name in HARMLESS), TEXTS | CHARSETS, max_size=3)
SIGNED = given(wrong=WRONG, more=MORE)
TWICE = given(name=NAMES, value=TEXTS | STATUSES, first=st.booleans())


def _signed_with_wrong_contents(
    paying: PayingShop, order: tuple[Order, str], wrong: dict[str, str], more: dict[str, str]
) -> None:
    if (body := _signed(paying, order[1], {**more, **wrong})) is not None:
        assert_untouched(*order, send(body))


@SHORT
@SIGNED
@example(wrong={"total_amount": "٥٨.٠٠"}, more={})
@example(wrong={"total_amount": "58.00\n"}, more={})
@example(wrong={"out_trade_no": "\0"}, more={})
def test_signed_with_wrong_contents(
    paying: PayingShop, order: tuple[Order, str], wrong: dict[str, str], more: dict[str, str]
) -> None:
    """Alipay's own signature on the amount, app, seller, number or status of something else pays nothing."""
    _signed_with_wrong_contents(paying, order, wrong, more)


@pytest.mark.long
@LONG
@SIGNED
def test_signed_with_many_wrong_contents(
    paying: PayingShop, order: tuple[Order, str], wrong: dict[str, str], more: dict[str, str]
) -> None:
    """The same with many examples."""
    _signed_with_wrong_contents(paying, order, wrong, more)


@SHORT
@TWICE
@example(name="trade_status", value="TRADE_SUCCESS", first=True)
@example(name="trade_status", value="TRADE_SUCCESS", first=False)
def test_a_field_that_comes_twice_is_not_believed(
    paying: PayingShop, order: tuple[Order, str], name: str, value: str, first: bool
) -> None:
    """A stranger adds a field to a signed notify, before or after its own: no money is invented."""
    signed = urlencode(paying.form(order[1], "WAIT_BUYER_PAY")).encode()
    added = urlencode({name: value}, errors="replace").encode()
    status, _ = send(b"&".join([added, signed] if first else [signed, added]))
    assert status < 500
    order[0].refresh_from_db()
    assert order[0].status == "awaiting_payment"
    assert PaymentAttempt.objects.get(reference=order[1]).paid is None
