"""The checkout when the session ends, in two tabs, on two devices, and sent more than once."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from shop.catalogue.models import Product
from shop.orders.models import Line, Order
from shop.pages import orders as pages
from tests.shop.rehearsal import PASSWORD, assert_no_drift, order_of, stock_of, together


def signed_in(user: User, **options: Any) -> Client:
    """Open a browser in which this user has signed in."""
    client = Client(**options)
    client.force_login(user)
    return client


@pytest.fixture
def browser(buyer: User) -> Client:
    """Open a browser in which the buyer has signed in."""
    return signed_in(buyer)


def add(client: Client, *skus: str) -> None:
    """Put one piece of each product into the cart."""
    for sku in skus:
        client.post("/cart/add/", {"sku": sku})


def form_on(client: Client, page: str = "/checkout/") -> dict[str, str]:
    """Return the fields of the order form on this page, as a tab that stays open keeps them."""
    return fields(client.get(page))


def fields(answer: Any) -> dict[str, str]:
    """Return the fields of the order form in this response."""
    form = re.search(r"<form[^>]*data-order-form.*?</form>", answer.content.decode(), re.DOTALL)
    assert form, answer.content.decode()
    return dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form[0]))


def end_the_session() -> None:
    """Let every session end, as after its time or a sign-out in another tab."""
    Session.objects.all().delete()


def sign_in(client: Client, address: str, email: str = "mei@example.com") -> Any:
    """Sign in on the page at this address, as the browser sends its form, and return the page that follows."""
    onward = parse_qs(urlsplit(address).query).get("next", [""])[0]
    return client.post(address, {"email": email, "password": PASSWORD, "next": onward}, follow=True)


@pytest.mark.usefixtures("cup", "pot")
def test_d5_a_session_that_ends_at_the_checkout_leads_back_to_the_checkout_with_the_cart(browser: Client) -> None:
    """An order was sent after the session's end: the sign-in led to an empty 405 page, and the cart was empty."""
    add(browser, "CUP", "CUP", "POT")
    tab = form_on(browser)
    end_the_session()
    answer = browser.post("/orders/place/", tab, follow=True)
    assert "Nothing was done" in answer.content.decode()
    back = sign_in(browser, answer.redirect_chain[-1][0])
    assert back.status_code == 200
    assert back.request["PATH_INFO"] == "/checkout/"
    assert "was not done" in back.content.decode()
    assert "¥444.00" in back.content.decode()
    assert not Order.objects.exists()
    assert browser.post("/orders/place/", fields(back)).status_code == 302
    assert [line.quantity for line in Order.objects.get().lines.all()] == [2, 1]


@pytest.mark.usefixtures("cup")
def test_d5_what_was_ordered_in_another_tab_is_not_offered_again_after_the_sign_in(browser: Client) -> None:
    """After the sign-in the checkout of a cart that was ordered meanwhile leads to its order."""
    add(browser, "CUP")
    tab = form_on(browser)
    ordered = browser.post("/orders/place/", tab).headers["Location"]
    browser.post("/sign-out/")
    back = sign_in(browser, browser.post("/orders/place/", tab).headers["Location"])
    assert back.request["PATH_INFO"] == ordered
    assert "ordered this cart already" in back.content.decode()
    assert Order.objects.count() == 1


def test_d5_another_user_gets_neither_the_cart_nor_the_order(browser: Client, rival: User, cup: Product) -> None:
    """The user who signs in next in the same browser sees their own cart, not that of the session that ended."""
    del rival
    add(browser, "CUP")
    tab = form_on(browser)
    end_the_session()
    back = sign_in(browser, browser.post("/orders/place/", tab).headers["Location"], "rival@example.com")
    assert "Your cart is empty." in back.content.decode()
    assert stock_of(cup) == (10, 0)


@pytest.mark.usefixtures("cup", "pot")
def test_d5_the_cart_stays_with_the_account_and_a_visitors_cart_joins_it(browser: Client) -> None:
    """The cart of a session that ended was lost. For a product that is in both carts, the larger quantity counts."""
    add(browser, "CUP", "CUP", "POT")
    browser.post("/sign-out/")
    assert "Your cart is empty." in browser.get("/cart/").content.decode()
    for _ in range(3):
        add(browser, "CUP")
    page = sign_in(browser, "/sign-in/?next=/cart/").content.decode()
    assert "data-cart-count>4<" in page
    assert "left in it when you were signed in before" in page
    again = sign_in(Client(), "/sign-in/?next=/cart/").content.decode()
    assert "data-cart-count>4<" in again, "on every device of the account"
    assert "left in it" not in again


@pytest.mark.usefixtures("cup")
def test_d5_a_change_of_the_cart_after_the_session_s_end_asks_for_the_sign_in(browser: Client) -> None:
    """A quantity that was changed after the session's end vanished without a word."""
    add(browser, "CUP")
    browser.get("/cart/")
    end_the_session()
    answer = browser.post("/cart/", {"signed-in": "1", "quantity-CUP": "3"}, follow=True)
    assert answer.request["PATH_INFO"] == "/sign-in/"
    assert "Nothing was done" in answer.content.decode()
    back = sign_in(browser, answer.redirect_chain[-1][0])
    assert back.request["PATH_INFO"] == "/cart/"
    assert "data-cart-count>1<" in back.content.decode()


def test_d5_every_form_sent_after_the_session_s_end_leads_to_a_page_that_can_be_shown(
    buyer: User, merchant: User, cup: Product
) -> None:
    """Paying, cancelling, ordering again and each action of the console led to an empty 405 page after the sign-in."""
    order = order_of(buyer, cup)
    page, desk = f"/orders/{order.public_id}/", f"/console/orders/{order.public_id}/"
    for user, sent, wanted in (
        (buyer, f"{page}pay/", page),
        (buyer, f"{page}cancel/", page),
        (buyer, f"{page}again/", page),
        (merchant, f"{desk}cancel/", desk),
        (merchant, "/console/stock/audit/", "/console/stock/"),
        (merchant, "/console/stock/CUP/restock/", "/console/stock/"),
        (merchant, "/console/buried/revive/", "/console/buried/"),
    ):
        client = Client()
        back = sign_in(client, client.post(sent, {"pieces": "5"}).headers["Location"], user.email)
        assert (sent, back.status_code, back.request["PATH_INFO"]) == (sent, 200, wanted)
        assert "was not done" in back.content.decode(), sent
        assert "was not done" not in client.get(wanted).content.decode(), "said once"
    order.refresh_from_db()
    assert order.status == "awaiting_payment"
    assert stock_of(cup) == (10, 1)


def test_d5_a_record_saved_after_the_session_s_end_says_that_it_was_not(merchant: User, cup: Product) -> None:
    """The administration asks for the sign-in as well, returns to the record, and says that nothing was saved."""
    client = Client()
    address = f"/admin/catalogue/product/{cup.pk}/change/"
    asked = client.post(address, {"price": "1"}, follow=True).redirect_chain[-1][0]
    back = sign_in(client, asked, merchant.email)
    assert (back.status_code, back.request["PATH_INFO"]) == (200, address)
    assert "was not done" in back.content.decode()


def views(patterns: Any, prefix: str = "/") -> list[tuple[str, URLPattern]]:
    """Return every address of the shop's own pages with its pattern."""
    found = []
    for one in patterns:
        route = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            found += [] if route in ("/admin/", "/api/") else views(one.url_patterns, route)
        else:
            found.append((route, one))
    return found


@pytest.mark.usefixtures("transactional_db")
def test_d5_every_address_that_takes_only_forms_names_a_page(client: Client) -> None:
    """No address that a person can open, or return to after a sign-in, is an empty page."""
    for_programs = {"/payment/alipay/notify/", "/payment/cancel_order/"}
    only_forms = set()
    for route, _ in views(get_resolver().url_patterns):
        address = re.sub(r"<[^>]*>", "x", route)
        if address in for_programs or "events" in address:
            continue
        answer = client.get(address)
        if answer.status_code != 405:
            continue
        only_forms.add(address)
        text = answer.content.decode()
        assert answer.headers["Allow"] == "POST"
        assert "Nothing was done" in text, address
        onward = re.search(r'data-onward href="([^"]+)"', text)
        assert onward, address
        assert client.get(onward[1]).status_code != 405
    assert len(only_forms) >= 10, only_forms


@pytest.mark.parametrize(
    "onward",
    [
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "javascript:alert(1)",
        "\t//x.example",
    ],
)
@pytest.mark.usefixtures("buyer")
def test_d5_the_way_back_never_leaves_the_shop(onward: str) -> None:
    """A link to the sign-in with a foreign address in `next` would hand a buyer who trusts the shop to a stranger."""
    form = {"email": "mei@example.com", "password": PASSWORD, "next": onward}
    assert Client().post("/sign-in/", form).headers["Location"] == "/"


@pytest.mark.usefixtures("buyer")
def test_d5_a_link_to_a_form_s_address_leads_to_its_page_after_the_sign_in() -> None:
    """`next` with the address of a form, as an old bookmark has it, led to an empty 405 page."""
    for onward, wanted in (("/orders/place/", "/checkout/"), ("/orders/abc/pay/", "/orders/abc/"), ("/sign-out/", "/")):
        form = {"email": "mei@example.com", "password": PASSWORD, "next": onward}
        assert Client().post("/sign-in/", form).headers["Location"] == wanted


@pytest.mark.usefixtures("cup")
def test_d5_a_form_older_than_the_sign_in_in_another_tab_says_what_to_do(buyer: User) -> None:
    """Django changes the token of forms with each sign-in, so forms in other tabs were refused without a way on."""
    client = signed_in(buyer, enforce_csrf_checks=True)
    tab = {"form-key": "0" * 32, "csrfmiddlewaretoken": "x" * 64}
    answer = client.post("/orders/place/", tab)
    text = answer.content.decode()
    assert answer.status_code == 403
    assert "Nothing was done" in text
    assert f'data-onward href="/checkout/?form-key={"0" * 32}"' in text
    text = client.post("/orders/abc/cancel/", tab).content.decode()
    assert 'data-onward href="/orders/abc/"' in text
    text = client.post("/sign-in/?next=/checkout/", tab).content.decode()
    assert 'data-onward href="/sign-in/?next=/checkout/"' in text


def test_d6_one_cart_in_two_tabs_is_one_order(browser: Client, cup: Product) -> None:
    """The checkout was open in two tabs: one cart became two orders."""
    add(browser, "CUP")
    one, other = form_on(browser), form_on(browser)
    ordered = browser.post("/orders/place/", one).headers["Location"]
    again = browser.post("/orders/place/", other, follow=True)
    assert again.request["PATH_INFO"] == ordered
    assert "You have ordered this cart already." in again.content.decode()
    assert stock_of(cup) == (10, 1)
    add(browser, "CUP")
    assert browser.post("/orders/place/", one).headers["Location"] == ordered, "the back button, much later"
    assert "data-cart-count>1<" in browser.get("/cart/").content.decode(), "the next cart is not touched"
    assert browser.post("/orders/place/", form_on(browser)).headers["Location"] != ordered
    assert Order.objects.count() == 2


def test_d6_two_devices_of_one_account_have_one_cart(browser: Client, buyer: User, cup: Product) -> None:
    """A cart that is sent from the phone and from the desk is one order."""
    add(browser, "CUP")
    phone = signed_in(buyer)
    one, other = form_on(browser), form_on(phone)
    ordered = browser.post("/orders/place/", one).headers["Location"]
    assert phone.post("/orders/place/", other).headers["Location"] == ordered
    assert "Your cart is empty." in phone.get("/cart/").content.decode()
    assert stock_of(cup) == (10, 1)


def test_d6_two_tabs_at_the_same_instant_are_one_order(browser: Client, buyer: User, cup: Product) -> None:
    """Both tabs are sent at one moment, on connections of their own: one order, and both answers lead to it."""
    add(browser, "CUP")
    clients = [signed_in(buyer) for _ in range(4)]
    tabs = [form_on(client) for client in clients]
    answers = together(
        *[
            lambda client=client, tab=tab: client.post("/orders/place/", tab)
            for client, tab in zip(clients, tabs, strict=True)
        ]
    )
    assert len({answer.headers["Location"] for answer in answers}) == 1, answers
    assert Order.objects.count() == 1
    assert stock_of(cup) == (10, 1)
    assert_no_drift()


@pytest.mark.parametrize("moment", ["place", "ordered_with"])
def test_d6_another_tab_is_ordered_while_this_one_is_being_looked_at(
    browser: Client, buyer: User, cup: Product, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The other tab's order commits after this one's form was compared, or before: this one leads to that order."""
    add(browser, "CUP")
    one, other = form_on(browser), form_on(browser)
    original = getattr(pages, moment)
    answers: list[Any] = []

    def after_the_other(*args: Any, **options: Any) -> Any:
        if not answers:
            answers.append(None)
            answers[0] = signed_in(buyer).post("/orders/place/", other)
        return original(*args, **options)

    monkeypatch.setattr(pages, moment, after_the_other)
    answers.append(browser.post("/orders/place/", one))
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert stock_of(cup) == (10, 1)


def test_d6_an_answer_that_was_lost_before_the_cart_was_emptied(
    browser: Client, cup: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web process died between the order and the cart: the retried request finds the order and empties the cart."""
    add(browser, "CUP")
    tab = form_on(browser)
    with monkeypatch.context() as patch:
        patch.setattr("shop.pages.cart.Cart.ordered", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            browser.post("/orders/place/", tab)
    again = browser.post("/orders/place/", tab, follow=True)
    assert "ordered this cart already" in again.content.decode()
    assert "data-cart-count>0<" in again.content.decode()
    assert stock_of(cup) == (10, 1)


@pytest.mark.usefixtures("pot")
@pytest.mark.parametrize("reloaded", [True, False])
def test_d6_a_cart_that_was_changed_after_its_order_was_lost_can_be_ordered(
    browser: Client, cup: Product, monkeypatch: pytest.MonkeyPatch, reloaded: bool
) -> None:
    """The web process died between the order and the cart, and the buyer added a product: each checkout was refused."""
    add(browser, "CUP")
    tab = form_on(browser)
    with monkeypatch.context() as patch:
        patch.setattr("shop.pages.cart.Cart.ordered", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            browser.post("/orders/place/", tab)
    add(browser, "POT")
    if reloaded:
        answer = browser.get("/checkout/", follow=True)
    else:  # a page of the checkout that was loaded before this was seen
        form = {**tab, "quantity-POT": "1", "price-POT": "328.00"}
        answer = browser.post("/orders/place/", form)
    assert "ordered this cart already" in answer.content.decode()
    left = form_on(browser)
    assert "quantity-CUP" not in left, "the cup is ordered"
    assert browser.post("/orders/place/", left).status_code == 302
    assert sorted(line.product.sku for line in Line.objects.all()) == ["CUP", "POT"]
    assert stock_of(cup) == (10, 1)


@pytest.mark.usefixtures("pot")
def test_d6_a_cart_that_changed_in_another_tab_is_not_ordered(browser: Client, cup: Product) -> None:
    """A tab that shows an older cart orders nothing, because the buyer would get what the tab does not show."""
    add(browser, "CUP")
    tab = form_on(browser)
    add(browser, "POT")
    answer = browser.post("/orders/place/", tab)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert 'data-refusal="cart-changed"' in text
    assert 'href="/checkout/"' in text
    assert not Order.objects.exists()
    now = form_on(browser)
    ordered = browser.post("/orders/place/", now).headers["Location"]
    answer = browser.post("/orders/place/", tab)
    assert answer.status_code == 409
    assert 'data-refusal="idempotency-key-reused"' in answer.content.decode()
    assert f'href="{ordered}"' in answer.content.decode(), "the link to what was ordered"
    assert stock_of(cup) == (10, 1)


@pytest.mark.usefixtures("pot")
def test_d6_an_old_tab_does_not_undo_a_change_of_the_cart(browser: Client, cup: Product) -> None:
    """The cart's page sends all quantities, so a tab that shows older ones set them back without a word."""
    del cup
    add(browser, "CUP", "POT")
    text = browser.get("/cart/").content.decode()
    state = re.search(r'name="cart-state" value="(\w+)"', text)
    assert state
    add(browser, "CUP")
    old = {"cart-state": state[1], "signed-in": "1", "quantity-CUP": "1", "quantity-POT": "0"}
    page = browser.post("/cart/", old, follow=True).content.decode()
    assert "data-cart-count>3<" in page
    assert "has changed since" in page


def test_d6_what_is_offered_after_a_refusal_is_ordered_once(browser: Client, cup: Product) -> None:
    """The page that offers the new price belongs to the same cart, so it orders once in two tabs as well."""
    add(browser, "CUP")
    tab = form_on(browser)
    Product.objects.filter(pk=cup.pk).update(price=60)
    offers = [fields(browser.post("/orders/place/", tab)) for _ in range(2)]
    ordered = [browser.post("/orders/place/", offer).headers["Location"] for offer in offers]
    assert ordered[0] == ordered[1]
    assert stock_of(cup) == (10, 1)
