"""The stock in the console: what is held by which orders, pieces to add, and the audit on demand."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client

from shop.catalogue.models import Product
from shop.console.models import Restock
from shop.statistics.books_check import CHECKS
from tests.shop.rehearsal import order_of, stock_of, together


@pytest.fixture
def desk(merchant: User) -> Client:
    """Return a browser in which the merchant has signed in."""
    client = Client()
    client.force_login(merchant)
    return client


def add(desk: Client, pieces: str, key: str = "form1", sku: str = "CUP") -> str:
    """Send the form and return the page that follows."""
    answer = desk.post(f"/console/stock/{sku}/restock/", {"pieces": pieces, "form-key": key}, follow=True)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def test_what_is_held_and_by_whom(desk: Client, buyer: User, cup: Product, pot: Product) -> None:
    """Each product is shown with its numbers and with links to the orders that hold it."""
    order = order_of(buyer, cup, 3)
    shown = desk.get("/console/stock/").content.decode()
    rows = re.findall(r'data-sku="(\w+)" data-on-hand="(\d+)" data-held="(\d+)"', shown)
    assert rows == [("CUP", "10", "3"), ("POT", "1", "0")]
    assert f"/console/orders/{order.public_id}/" in shown
    assert f"<code>{order.public_id[:8]}</code> × 3" in shown
    assert stock_of(pot) == (1, 0)


def test_pieces_come_in(desk: Client, merchant: User, cup: Product) -> None:
    """The stock grows, and the page says by how much and by whom; the same form sent twice adds once."""
    assert "CUP: +12 pieces." in add(desk, "12")
    assert "This form was already processed" in add(desk, "12")
    assert stock_of(cup) == (22, 0)
    assert "CUP: -2 pieces." in add(desk, "-2", "form2")
    assert stock_of(cup) == (20, 0)
    assert list(Restock.objects.values_list("pieces", "who")) == [(-2, merchant.pk), (12, merchant.pk)]
    assert 'data-restock="12"' in desk.get("/console/stock/").content.decode()


def test_what_orders_hold_stays(desk: Client, buyer: User, cup: Product) -> None:
    """Only pieces that no order holds can be taken away, and a refusal changes nothing."""
    order_of(buyer, cup, 8)
    assert "orders hold some" in add(desk, "-3")
    assert stock_of(cup) == (10, 8)
    assert not Restock.objects.exists()
    add(desk, "-2")
    assert stock_of(cup) == (8, 8)


@pytest.mark.parametrize("pieces", ["", "many", "0", "1.5", "100000", "-100000"])
def test_nonsense_is_refused(desk: Client, cup: Product, pieces: str) -> None:
    """An invalid number of pieces is refused, and the message says what to enter."""
    assert "Enter a whole number of pieces" in add(desk, pieces)
    assert stock_of(cup) == (10, 0)


def test_a_form_without_its_key_and_an_unknown_product(desk: Client, cup: Product) -> None:
    """A form without its key, and an unknown product, change nothing."""
    assert "Enter a whole number" in add(desk, "3", "")
    assert "Enter a whole number" in add(desk, "3", "x" * 65)
    assert desk.post("/console/stock/NO-SUCH/restock/", {"pieces": "1", "form-key": "a"}).status_code == 404
    assert stock_of(cup) == (10, 0)


def test_goods_come_in_while_others_are_sold(desk: Client, buyer: User, cup: Product) -> None:
    """Both count: neither overwrites the other."""
    heard = together(
        *[lambda key=f"key{number}": add(desk, "1", key) for number in range(5)],
        *[lambda: order_of(buyer, cup) for _ in range(5)],
    )
    assert not [one for one in heard if isinstance(one, Exception)], heard
    assert stock_of(cup) == (15, 5)


def test_the_audit_on_demand(desk: Client, buyer: User, cup: Product) -> None:
    """The page says that everything agrees, or names each drift."""
    order_of(buyer, cup, 2)
    shown = unescape(desk.post("/console/stock/audit/").content.decode())
    assert 'data-drifts="0"' in shown
    assert f"{len(CHECKS)} checks were made, and everything agrees." in shown
    Product.objects.update(held=3)
    shown = unescape(desk.post("/console/stock/audit/").content.decode())
    assert 'data-drifts="1"' in shown
    assert "<code>held</code> CUP: found 3, expected 2" in shown
