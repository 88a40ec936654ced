"""The cart, the checkout, and what a buyer sees when an order is refused."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from shop.catalogue.models import Product
from shop.orders.models import Order
from tests.shop.rehearsal import PASSWORD, assert_no_drift, make_overdue, order_of, stock_of


@pytest.fixture
def browser(buyer: User) -> Client:
    """Open a browser in which the buyer has signed in."""
    client = Client()
    client.force_login(buyer)
    return client


def add(client: Client, sku: str, quantity: int = 1) -> dict[str, object]:
    """Add to the cart as the page's script does."""
    told: dict[str, object] = client.post(
        "/cart/add/", {"sku": sku, "quantity": str(quantity)}, headers={"Accept": "application/json"}
    ).json()
    return told


@pytest.mark.usefixtures("cup", "pot")
def test_a_cart_of_several_lines_becomes_one_order(transactional_db: None) -> None:
    """A cart is filled before signing in, changed, kept while signing up, and checked out; then it is empty."""
    del transactional_db
    client = Client()
    assert client.get("/cart/").status_code == 200
    assert add(client, "CUP", 2)["count"] == 2
    assert client.post("/cart/add/", {"sku": "POT"}).headers["Location"] == "/cart/"
    client.post("/cart/", {"quantity-CUP": "3", "quantity-POT": "1"})
    page = client.get("/cart/").content.decode()
    assert "¥502.00" in page
    assert "data-cart-count>4<" in page
    assert client.get("/checkout/").headers["Location"] == "/sign-in/?next=/checkout/"
    form = {"email": "new@example.com", "password": PASSWORD, "next": "/checkout/"}
    assert client.post("/sign-up/", form).headers["Location"] == "/checkout/"
    assert "¥502.00" in client.get("/checkout/").content.decode()
    wish = {"quantity-CUP": "3", "price-CUP": "58.00", "quantity-POT": "1", "price-POT": "328.00"}
    assert client.post("/orders/place/", wish).status_code == 302
    assert [line.quantity for line in Order.objects.get().lines.all()] == [3, 1]
    assert client.get("/checkout/").headers["Location"] == "/cart/"


@pytest.mark.usefixtures("cup", "pot")
def test_changing_the_cart(client: Client) -> None:
    """A line is removed by its button or by the quantity 0; an invalid quantity changes nothing."""
    add(client, "CUP", 2)
    add(client, "POT")
    client.post("/cart/", {"quantity-CUP": "-1", "quantity-POT": "many"})
    client.post("/cart/", {"quantity-CUP": "²"})
    assert "data-cart-count>3<" in client.get("/cart/").content.decode()
    client.post("/cart/", {"remove": "CUP", "quantity-CUP": "2", "quantity-POT": "1"})
    assert 'data-line="CUP"' not in client.get("/cart/").content.decode()
    client.post("/cart/", {"quantity-POT": "0"})
    assert "Your cart is empty." in client.get("/cart/").content.decode()


@pytest.mark.usefixtures("pot")
def test_no_more_than_there_is(client: Client) -> None:
    """The cart takes the pieces that are left and says so; it takes no product that is sold out or unknown."""
    assert add(client, "POT", 5) == {"count": 1, "message": "Only 1 of Pot are left; your cart has them all."}
    Product.objects.update(on_hand=0)
    assert add(Client(), "POT") == {"count": 0, "message": "Sorry, Pot is sold out."}
    assert client.post("/cart/add/", {"sku": "NONE"}).status_code == 404
    assert client.post("/cart/add/", {"sku": "\0"}).status_code == 404
    assert client.post("/cart/add/").status_code == 404


def test_an_overdue_hold_turns_nobody_away(buyer: User, client: Client, pot: Product) -> None:
    """The last piece, held by an order whose time is over, goes into the next cart without any worker."""
    make_overdue(order_of(buyer, pot))
    assert add(client, "POT")["count"] == 1


def test_a_price_that_changed(browser: Client, cup: Product) -> None:
    """The cart and the checkout show both prices; an order at the old one is a 409 that offers the new one."""
    add(browser, "CUP", 2)
    Product.objects.filter(pk=cup.pk).update(price=60)
    for page in ("/cart/", "/checkout/"):
        text = browser.get(page).content.decode()
        assert "data-price-changed" in text
        assert "¥60.00" in text
        assert "¥58.00" in text
    answer = browser.post("/orders/place/", {"quantity-CUP": "2", "price-CUP": "58.00"})
    text = answer.content.decode()
    assert answer.status_code == 409
    assert 'data-refusal="price-changed"' in text
    assert "<s>¥58.00</s>" in text
    assert 'name="price-CUP" value="60.00"' in text
    assert browser.post("/orders/place/", {"quantity-CUP": "2", "price-CUP": "60.00"}).status_code == 302
    assert_no_drift()


@pytest.mark.usefixtures("pot")
def test_what_is_left(browser: Client, cup: Product) -> None:
    """A 409 says how many are left and offers these, without what is sold out."""
    Product.objects.filter(pk=cup.pk).update(on_hand=2)
    Product.objects.filter(sku="POT").update(on_hand=0)
    wish = {"quantity-CUP": "3", "price-CUP": "58.00", "quantity-POT": "1", "price-POT": "328.00"}
    answer = browser.post("/orders/place/", wish)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert 'data-refusal="sold-out"' in text
    assert 'data-short="CUP"' in text
    assert 'name="quantity-CUP" value="2"' in text
    assert 'name="quantity-POT"' not in text


def test_order_again(browser: Client, buyer: User, cup: Product, pot: Product) -> None:
    """After a lapse the same products go into the cart at current prices, as far as they are available."""
    lapsed = order_of(buyer, cup, 3)
    make_overdue(lapsed)
    address = f"/orders/{lapsed.public_id}/"
    assert "data-order-again" in browser.get(address).content.decode()
    Product.objects.filter(pk=cup.pk).update(price=61, on_hand=2)
    assert browser.post(f"{address}again/").headers["Location"] == "/cart/"
    text = browser.get("/cart/").content.decode()
    assert "data-cart-count>2<" in text
    assert "¥122.00" in text
    assert stock_of(cup) == (2, 0)
    gone = order_of(buyer, pot)
    assert browser.post(f"/orders/{gone.public_id}/again/").status_code == 302
    assert "sold out: Pot" in browser.get("/cart/").content.decode()
