"""Rate limits: a client over its limit learns when to try again, and other clients go on."""

import time
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache, caches
from django.test import Client, RequestFactory
from django_ratelimit import core as ratelimit  # type: ignore[import-untyped]  # it ships no types
from pytest_django import Settings

from lapse.testing.redis_server import RedisServer
from shop.catalogue.models import Product
from shop.limits import network_of
from shop.orders.models import Order
from tests.shop.rehearsal import PASSWORD, api_of


@pytest.fixture(autouse=True)
def limits(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Switch the limits on, with all counts at 0. No window of time ends during a test, however slow the machine is."""
    shop.RATE_LIMITS = True
    cache.clear()
    at = time.time()
    monkeypatch.setattr(ratelimit, "time", SimpleNamespace(time=lambda: at))
    return shop


def test_guessing_a_password(buyer: User) -> None:
    """After ten attempts an address is blocked for an account, and after a hundred all addresses are, for a while."""
    del buyer
    form = {"email": "Mei@example.com ", "password": "wrong"}
    client = Client()
    assert {client.post("/sign-in/", form).status_code for _ in range(10)} == {422}
    refused = client.post("/sign-in/", form | {"password": PASSWORD})
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 300
    assert "Too many attempts" in refused.content.decode()
    token = api_of(None)("POST", "/tokens", {"email": "mei@example.com", "password": PASSWORD})
    assert token.status_code == 429
    assert token.headers["Content-Type"] == "application/problem+json"
    assert token.json()["code"] == "too-often"
    assert token.headers["Retry-After"]
    assert client.post("/sign-in/", form | {"email": "other@example.com"}).status_code == 422
    owner = Client(REMOTE_ADDR="192.0.2.100")
    assert owner.post("/sign-in/", form | {"password": PASSWORD}).status_code == 302
    for address in range(1, 10):
        for _ in range(10):
            Client(REMOTE_ADDR=f"192.0.2.{address}").post("/sign-in/", form)
    assert owner.post("/sign-in/", form | {"password": PASSWORD}).status_code == 429


@pytest.mark.usefixtures("transactional_db")
def test_signing_up_from_one_address() -> None:
    """Thirty accounts a minute from one address, by page and API together."""
    api, client = api_of(None), Client()
    for _ in range(15):
        assert api("POST", "/buyers", {"email": "no address", "password": PASSWORD}).status_code == 422
        assert client.post("/sign-up/", {"email": "no address"}).status_code == 422
    assert client.post("/sign-up/", {"email": "no address"}).status_code == 429
    assert api("POST", "/buyers", {"email": "no address", "password": PASSWORD}).status_code == 429
    assert Client(REMOTE_ADDR="192.0.2.7").post("/sign-up/", {"email": "no address"}).status_code == 422


def test_ordering(buyer: User, rival: User, cup: Product) -> None:
    """A buyer has thirty attempts a minute; another buyer has a separate count."""
    del cup
    api = api_of(buyer)
    body = {"lines": [{"sku": "CUP", "quantity": 99, "unit_price": "58.00"}]}
    assert {api("POST", "/orders", body).status_code for _ in range(30)} == {409}
    assert api("POST", "/orders", body).status_code == 429
    client = Client()
    client.force_login(buyer)
    assert client.post("/orders/place/", {"quantity-CUP": "1", "price-CUP": "58.00"}).status_code == 429
    assert api_of(rival)("POST", "/orders", body).status_code == 409
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("proxies", "forwarded", "network"),
    [
        (0, "198.51.100.1", "192.0.2.1"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (2, "203.0.113.9", "192.0.2.1"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (1, "nonsense", "unknown"),
    ],
)
def test_where_a_request_comes_from(
    limits: Settings, rf: RequestFactory, proxies: int, forwarded: str, network: str
) -> None:
    """X-Forwarded-For counts only as far as our own proxies have written it."""
    limits.TRUSTED_PROXIES = proxies
    request = rf.get("/", REMOTE_ADDR="192.0.2.1", headers={"X-Forwarded-For": forwarded})
    assert network_of(request) == network


def test_counted_together_in_redis(limits: Settings, buyer: User) -> None:
    """With a Redis all processes share one count; without an answer from it, users still sign in."""
    form = {"email": buyer.email, "password": "wrong"}
    with RedisServer() as server:
        limits.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": server.url}}
        for _ in range(10):
            caches["default"].close()
            assert Client().post("/sign-in/", form).status_code == 422
        assert Client().post("/sign-in/", form).status_code == 429
    assert Client().post("/sign-in/", form | {"password": PASSWORD}).status_code == 302
