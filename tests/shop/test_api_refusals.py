"""What the API refuses: each a problem document with its status and code."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from pytest_django import Settings

from lapse.engine.errors import TryLater
from shop.catalogue.models import Product
from shop.orders.models import Order
from tests.shop.rehearsal import PASSWORD, Api, api_of, order_of, stock_of

CUP: dict[str, Any] = {"lines": [{"sku": "CUP", "quantity": 2, "unit_price": "58.00"}]}


@pytest.fixture
def api(buyer: User) -> Api:
    """Call the API as a buyer."""
    return api_of(buyer)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"email": "mei@example.com", "password": PASSWORD}, 409),
        ({"email": "MEI@EXAMPLE.COM", "password": PASSWORD}, 409),
        ({"email": "no address", "password": PASSWORD}, 422),
        ({"email": "a@example.com", "password": "short"}, 422),
        ({"email": "a@example.com", "password": "password123"}, 422),
        ({"email": "a@example.com"}, 422),
        ({"email": "a" * 200 + "@example.com", "password": PASSWORD}, 422),
        ("no json", 400),
    ],
)
@pytest.mark.usefixtures("buyer")
def test_signing_up_refused(body: Any, status: int) -> None:
    """A taken address in any case is a 409; a bad address or a weak password a 422; no JSON a 400."""
    answer = api_of(None)("POST", "/buyers", body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert User.objects.count() == 1


def test_a_wrong_password_gives_no_token(buyer: User) -> None:
    """A wrong password and an unknown address get the same response."""
    wrong = api_of(None)("POST", "/tokens", {"email": buyer.email, "password": "wrong"})
    unknown = api_of(None)("POST", "/tokens", {"email": "x@example.com", "password": "wrong"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    assert api_of(None)("POST", "/tokens", {"email": "x\0", "password": "wrong"}).status_code == 401


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ({"sku": "CUP", "quantity": 1, "unit_price": "57.00"}, 409, "price-changed"),
        ({"sku": "CUP", "quantity": 11, "unit_price": "58.00"}, 409, "sold-out"),
        ({"sku": "NONE", "quantity": 1, "unit_price": "1.00"}, 422, "bad-order"),
        ({"sku": "CUP\0", "quantity": 1, "unit_price": "58.00"}, 422, "invalid"),
        ({"sku": "CUP", "quantity": 0, "unit_price": "58.00"}, 422, "invalid"),
        ({"sku": "CUP", "quantity": 1e9, "unit_price": "58.00"}, 422, "invalid"),
        ({"sku": "CUP", "quantity": 1, "unit_price": "-1"}, 422, "invalid"),
        ({"sku": "CUP", "quantity": 1, "unit_price": "NaN"}, 422, "invalid"),
        ({"sku": "CUP", "quantity": 1, "unit_price": "58.001"}, 422, "invalid"),
        ({"sku": "CUP", "quantity": 1}, 422, "invalid"),
    ],
)
def test_refused_orders_are_problem_documents(api: Api, cup: Product, line: Any, status: int, code: str) -> None:
    """Every refusal has its status, its code and a sentence, and orders nothing."""
    answer = api("POST", "/orders", {"lines": [line]})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    document = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["detail"]
    assert stock_of(cup) == (10, 0)


@pytest.mark.usefixtures("cup")
def test_too_many_open_orders(api: Api, shop: Settings) -> None:
    """One unpaid order too many is a 409."""
    shop.LAPSE_OPEN_ORDERS = 1
    assert api("POST", "/orders", CUP).status_code == 201
    assert api("POST", "/orders", CUP).json()["code"] == "too-many-open-orders"


def test_nobody_touches_anothers_order(rival: User, buyer: User, merchant: User, cup: Product) -> None:
    """An order of another buyer gets the same response as an order that does not exist, for every request."""
    number = order_of(buyer, cup).public_id
    for user in (rival, merchant):
        other = api_of(user)
        for method, path in [("GET", ""), ("POST", "/cancel"), ("POST", "/pay")]:
            theirs = other(method, f"/orders/{number}{path}")
            nothing = other(method, f"/orders/{'0' * 32}{path}")
            assert theirs.status_code == nothing.status_code == 404
            assert theirs.json() == nothing.json()
            assert other(method, f"/orders/%00{path}").status_code == 404
        assert other("GET", "/orders").json() == {"items": [], "count": 0}
    assert Order.objects.get().status == "awaiting_payment"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/products", 401),
        ("POST", "/orders", 401),
        ("GET", "/orders", 401),
        ("GET", "/orders/1", 401),
        ("POST", "/orders/1/cancel", 401),
        ("POST", "/orders/1/pay", 401),
        ("GET", "/statistics", 401),
        ("GET", "/nothing", 404),
        ("GET", "/tokens", 405),
        ("DELETE", "/orders", 405),
    ],
)
def test_strangers_and_wrong_addresses(transactional_db: None, method: str, path: str, status: int) -> None:
    """No token, a wrong token, no such address or method: a problem document each."""
    del transactional_db
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        answer = api_of(None)(method, path, **headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    if status == 405:
        assert answer.headers["Allow"]


def test_a_fault_is_a_problem_document_without_its_secrets(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is a 500 that does not show what failed."""

    def fail() -> list[Product]:
        raise RuntimeError("a secret")

    monkeypatch.setattr("shop.api.products.on_sale", fail)
    answer = api("GET", "/products")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert "secret" not in answer.content.decode()


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("away"), TryLater("away")])
def test_a_database_that_is_away_asks_to_try_again(api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Without its database the shop returns a 503 that says when to try again."""

    def fail() -> list[Product]:
        raise error

    monkeypatch.setattr("shop.api.products.on_sale", fail)
    answer = api("GET", "/products")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert answer.headers["Retry-After"]
