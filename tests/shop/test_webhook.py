"""POST /payment/cancel_order/: signed, idempotent, with its seven answers."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from standardwebhooks.webhooks import Webhook

from lapse.delivering import Body, Signer
from lapse.orders import Attempt, Ruling
from lapse.watch.options import DEFAULTS
from shop.catalogue.models import Product
from shop.orders.models import Order
from shop.payments.development import DevelopmentGateway, pay_now
from shop.payments.links import payment_link
from tests.shop.rehearsal import assert_no_drift, make_overdue, order_of, stock_of, together

URL = "/payment/cancel_order/"


def call(body: Any, *, age: timedelta = timedelta(), secret: str = "", signed: Any = None) -> Any:
    """Send the body, signed `age` ago, by default with the shop's secret; `signed` is the text that is signed."""
    text = body if isinstance(body, str) else json.dumps(body)
    at = datetime.now(UTC) - age
    hook = Webhook(secret or settings.LAPSE_WEBHOOK_SECRET)
    signature = hook.sign("msg_1", at, text if signed is None else signed)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }
    answer = Client(enforce_csrf_checks=True).post(URL, text, content_type="application/json", headers=headers)
    assert answer.headers["Content-Type"] == "application/json"
    return answer


def test_it_cancels_and_again_does_nothing(buyer: User, cup: Product) -> None:
    """A signed call cancels an order that is not due, for the merchant; a second one returns that it is cancelled."""
    order = order_of(buyer, cup)
    for message in ("The order is cancelled.", "The order was cancelled before."):
        answer = call({"order_id": order.public_id})
        assert answer.status_code == 200
        assert answer.json() == {"status": "cancelled", "message": message, "order_id": order.public_id}
    assert Order.objects.get().cancel_reason == "merchant"
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


def test_what_lapse_watch_sends_is_what_this_address_takes(buyer: User, cup: Product) -> None:
    """The package's webhook, with its own body, headers and signature, cancels an order of the shop."""
    order = order_of(buyer, cup)
    body = Body(DEFAULTS.body).of(order.public_id)
    headers = Signer.from_text(settings.LAPSE_WEBHOOK_SECRET).headers("msg_1", datetime.now(UTC), body)
    answer = Client(enforce_csrf_checks=True).post(URL, body, content_type="application/json", headers=headers)
    assert (answer.status_code, Order.objects.get().status) == (200, "cancelled")


def test_an_overdue_order_expires(buyer: User, cup: Product) -> None:
    """An overdue order expires by the call: its reason says so."""
    order = order_of(buyer, cup)
    payment_link(order.pk)
    make_overdue(order)
    assert call({"order_id": order.public_id}).status_code == 200
    assert Order.objects.get().cancel_reason == "expired"
    assert_no_drift()


def test_many_calls_at_once(buyer: User, cup: Product) -> None:
    """The same call many times at the same moment cancels once and answers 200 to all."""
    order = order_of(buyer, cup)
    make_overdue(order)
    answers = together(*[lambda: call({"order_id": order.public_id}).status_code] * 5)
    assert answers == [200] * 5
    assert_no_drift()


def test_a_paid_order_is_a_conflict(buyer: User, cup: Product) -> None:
    """A paid order stays paid."""
    order = order_of(buyer, cup)
    assert pay_now(payment_link(order.pk).strip("/").rsplit("/", 1)[-1])
    assert call({"order_id": order.public_id}).status_code == 409
    assert stock_of(cup) == (9, 0)


def test_an_unknown_order(transactional_db: None) -> None:
    """An order that does not exist is a 404."""
    del transactional_db
    assert call({"order_id": "0" * 32}).status_code == 404


@pytest.mark.parametrize(
    "body", ["", "no json", "[]", "{}", '{"order_id": 7}', '{"order_id": ""}', '{"order_id": "\\u0000"}']
)
def test_no_order_id(transactional_db: None, body: str) -> None:
    """No JSON, or none with an order_id, is a 400."""
    del transactional_db
    assert call(body).status_code == 400


def test_wrong_methods(client: Client) -> None:
    """Anything but a POST is a 405 that says so."""
    for method in ("GET", "PUT", "DELETE"):
        answer = client.generic(method, URL)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_strangers_cancel_nothing_and_learn_nothing(buyer: User, cup: Product, shop: Settings) -> None:
    """Unsigned, wrongly signed, too old, changed or garbled calls are a 401, for every request."""
    order = order_of(buyer, cup)
    body = {"order_id": order.public_id}
    other = "whsec_" + "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC1vdGhlcg=="
    assert Client().post(URL, json.dumps(body), content_type="application/json").status_code == 401
    assert call(body, secret=other).status_code == 401
    assert call(body, age=timedelta(minutes=6)).status_code == 401
    assert call(body, age=-timedelta(minutes=6)).status_code == 401
    assert call(body, signed="{}").status_code == 401
    assert call("no json", secret=other).status_code == 401
    for garbage in ("v1,§", "v1", "v1,a,b", "v1,abc", "v2,abc", ","):
        headers = {
            "webhook-id": "m",
            "webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
            "webhook-signature": garbage.encode().decode("latin-1"),
        }
        answer = Client().post(URL, json.dumps(body), content_type="application/json", headers=headers)
        assert answer.status_code == 401, garbage
    hook_secret = shop.LAPSE_WEBHOOK_SECRET
    shop.LAPSE_WEBHOOK_SECRET = ""
    assert call(body, secret=hook_secret).status_code == 401
    assert Order.objects.get().status == "awaiting_payment"


def test_a_gateway_without_an_answer_asks_to_call_again(
    buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the gateway cannot be asked, the answer is 503: the caller must not think that it is done."""
    order = order_of(buyer, cup)
    payment_link(order.pk)

    def away(_gateway: DevelopmentGateway, _attempt: Attempt) -> Ruling:
        raise ConnectionError("the gateway is away")

    with monkeypatch.context() as patched:
        patched.setattr(DevelopmentGateway, "close", away)
        assert call({"order_id": order.public_id}).status_code == 503
    assert call({"order_id": order.public_id}).status_code == 200
    assert stock_of(cup) == (10, 0)
