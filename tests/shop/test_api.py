"""Every route of the API."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from shop.buyers.models import ApiToken
from shop.catalogue.models import Product
from shop.orders.models import Order
from tests.shop.rehearsal import PASSWORD, Api, api_of, assert_no_drift, make_overdue, order_of, stock_of

CUP: dict[str, Any] = {"lines": [{"sku": "CUP", "quantity": 2, "unit_price": "58.00"}]}


@pytest.fixture
def api(buyer: User) -> Api:
    """Call the API as a buyer."""
    return api_of(buyer)


def test_signing_up_gives_a_token_that_works(transactional_db: None) -> None:
    """A new buyer gets a token, which is stored as a hash, and another token for the same password."""
    del transactional_db
    stranger = api_of(None)
    answer = stranger("POST", "/buyers", {"email": " New@Example.com ", "password": PASSWORD})
    assert answer.status_code == 201
    assert answer.json()["email"] == "new@example.com"
    token = answer.json()["token"]
    assert ApiToken.objects.get().sha256 != token
    assert stranger("GET", "/products", Authorization=f"Bearer {token}").status_code == 200
    another = stranger("POST", "/tokens", {"email": "NEW@example.com", "password": PASSWORD})
    assert another.status_code == 201
    assert another.json()["token"] != token


def test_products(api: Api, cup: Product, buyer: User) -> None:
    """The catalogue has price and availability."""
    order_of(buyer, cup, 3)
    found = api("GET", "/products")
    assert found.status_code == 200
    assert [(one["sku"], one["price"], one["available"]) for one in found.json()] == [("CUP", "58.00", 7)]


def test_an_order_from_placing_to_paying(api: Api, cup: Product) -> None:
    """An order is placed, read, listed, and paid by its link."""
    placed = api("POST", "/orders", CUP)
    assert placed.status_code == 201
    order = placed.json()
    assert (order["status"], order["total"], order["payable"]) == ("awaiting_payment", "116.00", True)
    assert order["lines"] == [{"sku": "CUP", "name": "Cup", "quantity": 2, "unit_price": "58.00"}]
    assert order["placed_at"] <= order["now"] < order["pay_by"]
    assert api("GET", f"/orders/{order['id']}").json()["id"] == order["id"]
    assert [one["id"] for one in api("GET", "/orders").json()["items"]] == [order["id"]]
    link = api("POST", f"/orders/{order['id']}/pay")
    assert link.status_code == 200
    page = link.json()["pay_url"]
    assert page.startswith("http://testserver/pay/")
    assert Client().post(page).status_code == 302
    paid = api("GET", f"/orders/{order['id']}").json()
    assert (paid["status"], paid["payable"]) == ("paid", False)
    assert paid["paid_at"]
    assert api("POST", f"/orders/{order['id']}/pay").status_code == 409
    assert api("POST", f"/orders/{order['id']}/cancel").json()["code"] == "already-paid"
    assert stock_of(cup) == (8, 0)
    assert_no_drift()


def test_cancelling_twice(api: Api, cup: Product) -> None:
    """A second cancel changes nothing and returns the same."""
    number = api("POST", "/orders", CUP).json()["id"]
    for _ in range(2):
        answer = api("POST", f"/orders/{number}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert answer.json()["cancel_reason"] == "buyer"
    assert api("POST", f"/orders/{number}/pay").json()["code"] == "already-cancelled"
    assert stock_of(cup) == (10, 0)


def test_an_overdue_order_is_never_payable(api: Api, cup: Product, buyer: User) -> None:
    """An order that is read, listed, paid or cancelled after its deadline has lapsed, without any worker."""
    orders = [order_of(buyer, cup) for _ in range(4)]
    make_overdue(*orders)
    seen = api("GET", f"/orders/{orders[0].public_id}").json()
    assert (seen["status"], seen["cancel_reason"], seen["payable"]) == ("cancelled", "expired", False)
    assert api("POST", f"/orders/{orders[1].public_id}/pay").status_code == 409
    assert api("POST", f"/orders/{orders[2].public_id}/cancel").json()["cancel_reason"] == "expired"
    assert {one["status"] for one in api("GET", "/orders").json()["items"]} == {"cancelled"}
    assert stock_of(cup) == (10, 0)
    assert_no_drift()


@pytest.mark.usefixtures("cup")
def test_the_idempotency_key(api: Api) -> None:
    """The same request again is the same order and a 201; another body under the key is a 422."""
    headers = {"Idempotency-Key": "one"}
    first = api("POST", "/orders", CUP, **headers)
    again = api("POST", "/orders", CUP, **headers)
    assert first.status_code == again.status_code == 201
    assert first.json()["id"] == again.json()["id"]
    other = {"lines": [{"sku": "CUP", "quantity": 1, "unit_price": "58.00"}]}
    refused = api("POST", "/orders", other, **headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency-key-reused")
    assert api("POST", "/orders", CUP, **{"Idempotency-Key": "x" * 201}).status_code == 422
    assert Order.objects.count() == 1


def test_pages_of_orders(api: Api, cup: Product, buyer: User) -> None:
    """The list comes in pages, newest first."""
    orders = [order_of(buyer, cup) for _ in range(3)]
    page = api("GET", "/orders?limit=2&offset=1").json()
    assert page["count"] == 3
    assert [one["id"] for one in page["items"]] == [orders[1].public_id, orders[0].public_id]
    assert api("GET", "/orders?limit=1000").status_code == 422


def test_the_statistics_are_for_the_merchant(api: Api, merchant: User, cup: Product, buyer: User) -> None:
    """Staff see the statistics of the day; a buyer gets a 403."""
    order_of(buyer, cup)
    assert api("GET", "/statistics").status_code == 403
    days = api_of(merchant)("GET", "/statistics").json()
    assert days[0]["placed"] == {"count": 1, "amount": "58.00"}
    assert days[0]["cancelled"]["expired"]["count"] == 0


def test_the_statistics_need_the_permission(merchant: User) -> None:
    """Staff who may not see the statistics in the console do not get them from the API either."""
    merchant.groups.clear()
    assert api_of(merchant)("GET", "/statistics").status_code == 403


def test_the_documentation_needs_no_other_host(client: Client) -> None:
    """The OpenAPI page loads from this shop only, and the document has every route."""
    page = client.get("/api/docs").content.decode()
    assert "https://" not in page
    assert "/static/ninja/" in page
    assert set(client.get("/api/openapi.json").json()["paths"]) == {
        "/api/buyers",
        "/api/tokens",
        "/api/products",
        "/api/orders",
        "/api/orders/{order_id}",
        "/api/orders/{order_id}/cancel",
        "/api/orders/{order_id}/extend",
        "/api/orders/{order_id}/pay",
        "/api/orders/{order_id}/revive",
        "/api/orders/extend",
        "/api/orders/revive",
        "/api/statistics",
    }


@pytest.mark.usefixtures("cup")
def test_the_window_is_what_the_setting_says(api: Api, shop: Settings) -> None:
    """`pay_by` lies exactly the payment window after `placed_at`."""
    shop.LAPSE_PAYMENT_WINDOW = timedelta(seconds=7)
    api("POST", "/orders", CUP)
    order = Order.objects.get()
    assert order.pay_by - order.placed_at == timedelta(seconds=7)


@pytest.mark.usefixtures("cup")
def test_a_payment_method_has_its_own_window_and_a_request_may_ask_for_another(api: Api, shop: Settings) -> None:
    """Up to the setting's limit; without the setting, only for less. Nonsense is refused with the limits."""

    def window_of(status: int, **asked: object) -> object:
        answer = api("POST", "/orders", CUP | asked)
        assert answer.status_code == status, answer.content
        found = answer.json()
        return (found["detail"], found["least"], found["longest"]) if status != 201 else _window(found["id"])

    shop.LAPSE_PAYMENT_WINDOWS = {"development": timedelta(minutes=2), "alipay": timedelta(hours=1)}
    shop.LAPSE_LONGEST_WINDOW = None
    assert window_of(201) == timedelta(minutes=2)
    assert window_of(201, pay_within=60) == timedelta(minutes=1)
    assert window_of(422, pay_within=121) == ("The time to pay must be from 1 to 120 seconds.", 1, 120)
    shop.LAPSE_LONGEST_WINDOW = timedelta(hours=2)
    assert window_of(201, pay_within=7200) == timedelta(hours=2)
    shop.SHOP_GATEWAY = "alipay"
    assert window_of(201) == timedelta(hours=1)
    assert window_of(422, pay_within=7) == ("The time to pay must be from 8 to 7200 seconds.", 8, 7200)
    for nonsense in (0, -1, 1e12, "soon"):
        assert api("POST", "/orders", CUP | {"pay_within": nonsense}).status_code == 422


@pytest.mark.usefixtures("cup")
def test_the_same_key_with_another_window_is_another_order(api: Api) -> None:
    """So it is refused, and is not silently the earlier order."""
    first = api("POST", "/orders", CUP | {"pay_within": 60}, **{"Idempotency-Key": "a"})
    assert (
        api("POST", "/orders", CUP | {"pay_within": 60}, **{"Idempotency-Key": "a"}).json()["id"] == first.json()["id"]
    )
    assert api("POST", "/orders", CUP | {"pay_within": 90}, **{"Idempotency-Key": "a"}).status_code == 422


def _window(public_id: str) -> timedelta:
    order = Order.objects.get(public_id=public_id)
    return order.pay_by - order.placed_at
