"""The pages as a browser receives them."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from shop.catalogue.models import Product
from shop.orders.models import Order
from tests.shop.rehearsal import PASSWORD, assert_no_drift, make_overdue, order_of, stock_of


@pytest.fixture
def browser(buyer: User) -> Client:
    """Open a browser in which the buyer has signed in."""
    client = Client()
    client.force_login(buyer)
    return client


def test_signing_up_in_and_out(transactional_db: None) -> None:
    """A visitor signs up, signs out and in again, and returns to the page that was asked for."""
    del transactional_db
    client = Client()
    wish = client.get("/orders/")
    assert wish.headers["Location"] == "/sign-in/?next=/orders/"
    form = {"email": "New@example.com", "password": PASSWORD, "next": "/orders/"}
    assert client.post("/sign-up/", form).headers["Location"] == "/orders/"
    assert client.get("/orders/").status_code == 200
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").status_code == 302
    assert client.get("/orders/").status_code == 302
    assert client.post("/sign-in/", form).headers["Location"] == "/orders/"
    away = form | {"next": "https://elsewhere.example/"}
    assert client.post("/sign-in/", away).headers["Location"] == "/"


@pytest.mark.parametrize(
    ("page", "form"),
    [
        ("/sign-up/", {"email": "mei@example.com", "password": PASSWORD}),
        ("/sign-up/", {"email": "nothing", "password": "1"}),
        ("/sign-in/", {"email": "mei@example.com", "password": "wrong"}),
    ],
)
@pytest.mark.usefixtures("buyer")
def test_wrong_credentials_are_explained(page: str, form: dict[str, str]) -> None:
    """The form is shown again with the errors and without the password."""
    answer = Client().post(page, form)
    assert answer.status_code == 422
    assert "data-error" in answer.content.decode()
    assert f'value="{form["password"]}"' not in answer.content.decode()
    assert User.objects.count() == 1


@pytest.mark.usefixtures("cup", "pot")
def test_the_shelf(client: Client) -> None:
    """Every visitor sees the products, how many are left, and which are sold out."""
    page = client.get("/").content.decode()
    assert 'data-sku="CUP" data-available="10"' in page
    assert "10 available" in page
    assert "only 1 left" in page
    Product.objects.filter(sku="POT").update(held=1)
    assert "sold out" in client.get("/").content.decode()


def test_a_product_by_itself(client: Client, cup: Product) -> None:
    """Every product has a page, with any characters in its SKU; an unknown SKU is a 404."""
    Product.objects.filter(pk=cup.pk).update(sku="A/B?C")
    address = reverse("product", args=["A/B?C"])
    assert address in client.get("/").content.decode()
    assert 'data-sku="A/B?C" data-available="10"' in client.get(address).content.decode()
    assert client.get("/products/NONE/").status_code == 404


def test_ordering_watching_paying(browser: Client, cup: Product) -> None:
    """The form places an order, its page counts down, and its pay button leads to the gateway, where it is paid."""
    browser.post("/cart/add/", {"sku": "CUP", "quantity": "2"})
    hidden = re.findall(r'name="(form-key|cart-state)" value="(\w+)"', browser.get("/checkout/").content.decode())
    assert len(hidden) == 2
    form = {**dict(hidden), "quantity-CUP": "2", "price-CUP": "58.00"}
    address = browser.post("/orders/place/", form).headers["Location"]
    assert browser.post("/orders/place/", form).headers["Location"] == address, "sent twice, ordered once"
    page = browser.get(address)
    assert "no-store" in page.headers["Cache-Control"]
    assert 'data-status="awaiting_payment"' in page.content.decode()
    assert "data-countdown" in page.content.decode()
    state = browser.get(f"{address}status/").json()
    assert (state["status"], state["payable"]) == ("awaiting_payment", True)
    assert state["now"] < state["pay_by"]
    gateway = browser.post(f"{address}pay/").headers["Location"]
    assert "data-pay-now" in browser.get(gateway).content.decode()
    assert browser.post(gateway).headers["Location"] == address
    assert browser.get(f"{address}status/").json()["status"] == "paid"
    assert "data-pay-now" not in browser.get(gateway).content.decode()
    assert stock_of(cup) == (8, 0)
    assert_no_drift()


def test_cancelling(browser: Client, cup: Product, buyer: User) -> None:
    """The button cancels the order; a link to pay it that is still open somewhere takes no money."""
    order = order_of(buyer, cup)
    gateway = browser.post(f"/orders/{order.public_id}/pay/").headers["Location"]
    browser.post(f"/orders/{order.public_id}/cancel/")
    assert "Cancelled, and the stock is released" in browser.get(f"/orders/{order.public_id}/").content.decode()
    assert browser.post(gateway).status_code == 409
    assert 'data-status="cancelled"' in browser.get("/orders/").content.decode()
    assert stock_of(cup) == (10, 0)


def test_an_overdue_order_shows_as_lapsed(browser: Client, cup: Product, buyer: User) -> None:
    """Without any worker, the page of an overdue order says that it is cancelled."""
    order = order_of(buyer, cup)
    make_overdue(order)
    page = browser.get(f"/orders/{order.public_id}/").content.decode()
    assert 'data-status="cancelled"' in page
    assert "data-pay" in page
    assert "It was not paid in time." in page
    assert "data-while-unpaid" not in page


@pytest.mark.parametrize(
    "form",
    [
        {"quantity-CUP": "2", "price-CUP": "57.00"},
        {"quantity-CUP": "11", "price-CUP": "58.00"},
        {"quantity-CUP": "two", "price-CUP": "58.00"},
        {"quantity-CUP": "1", "price-CUP": "NaN"},
        {"quantity-CUP": "1", "price-CUP": "1e999999"},
        {"quantity-CUP": "1"},
        {"quantity-CUP": "0", "price-CUP": "58.00"},
        {"quantity-NONE\0": "1", "price-NONE\0": "58.00"},
        {"quantity-CUP": "99999999999", "price-CUP": "58.00"},
    ],
)
@pytest.mark.usefixtures("cup")
def test_a_refused_order_is_explained(browser: Client, form: dict[str, str]) -> None:
    """A page says the reason, and nothing is ordered."""
    answer = browser.post("/orders/place/", form)
    assert answer.status_code == 409
    assert "data-refusal" in answer.content.decode()
    assert not Order.objects.exists()


def test_nobody_sees_anothers_order(rival: User, buyer: User, cup: Product) -> None:
    """An order of another buyer is a 404 on every page, and a visitor is redirected to the sign-in."""
    order = order_of(buyer, cup)
    other = Client()
    other.force_login(rival)
    address = f"/orders/{order.public_id}/"
    assert other.get(address).status_code == 404
    assert other.get(f"{address}status/").status_code == 404
    assert other.post(f"{address}cancel/").status_code == 404
    assert other.post(f"{address}pay/").status_code == 404
    assert other.post(f"{address}again/").status_code == 404
    assert other.get(f"{address}events/").status_code == 404
    assert Client().get(f"{address}events/").status_code == 404
    assert Client().get(address).status_code == 302
    assert Client().get(f"{address}status/").status_code == 401
    assert Client().get("/pay/0123456789/").status_code == 404
    assert Order.objects.get().status == "awaiting_payment"


def test_the_statistics_page_is_for_staff(browser: Client, merchant: User, buyer: User, cup: Product) -> None:
    """Staff see today's statistics; a buyer gets a 403, and a visitor is redirected to the sign-in."""
    order_of(buyer, cup)
    staff = Client()
    staff.force_login(merchant)
    page = staff.get("/console/statistics/").content.decode()
    assert 'data-event="placed" data-count="1" data-amount="58.00"' in page
    assert 'data-sku="CUP" data-on-hand="10" data-held="1"' in page
    assert browser.get("/console/statistics/").status_code == 403
    assert Client().get("/console/statistics/").status_code == 302


def test_forms_need_their_token(buyer: User, cup: Product) -> None:
    """A form sent from another site is refused."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(buyer)
    order = order_of(buyer, cup)
    for address in (
        "/orders/place/",
        "/cart/",
        "/cart/add/",
        f"/orders/{order.public_id}/cancel/",
        f"/orders/{order.public_id}/pay/",
    ):
        assert client.post(address).status_code == 403


def test_pages_load_nothing_from_elsewhere_and_have_no_inline_code(browser: Client, cup: Product, buyer: User) -> None:
    """Security headers are there, and no page needs what they forbid."""
    order = order_of(buyer, cup)
    browser.post("/cart/add/", {"sku": "CUP"})
    for address in (
        "/",
        "/products/CUP/",
        "/cart/",
        "/checkout/",
        "/orders/",
        f"/orders/{order.public_id}/",
        "/sign-in/",
        "/nothing/",
    ):
        answer = browser.get(address)
        text = answer.content.decode()
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "style=" not in text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert "http://" not in text
        assert "https://" not in text
