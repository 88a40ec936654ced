"""The console names who holds what in unpaid orders."""

import re

from django.contrib.auth.models import User
from django.test import Client

from lapse.integrations.django import unpaid_orders
from shop.catalogue.models import Product
from shop.orders.placing import place
from tests.shop.rehearsal import make_overdue, order_of, wanted


def test_who_holds_what(merchant: User, buyer: User, rival: User, cup: Product, pot: Product) -> None:
    """Pieces, orders, deadline and lapses of each buyer and product, sorted by each; each links to the orders."""
    lapsed = order_of(rival, cup)
    make_overdue(lapsed)
    unpaid_orders().lapse([lapsed.public_id])
    order_of(buyer, cup)
    order_of(buyer, cup)
    place(rival, [wanted(cup, 3), wanted(pot)])
    client = Client()
    client.force_login(merchant)
    shown = client.get("/console/holders/").content.decode()
    found = r'data-holder="([^"]+)" data-pieces="(\d+)" data-lapsed="(\d+)"'
    assert re.findall(found, shown) == [(rival.username, "4", "1"), (buyer.username, "2", "0")]
    assert re.findall(r'data-product="(\w+)" data-pieces="(\d+)"', shown) == [("CUP", "5"), ("POT", "1")]
    assert f"/console/orders/?q={rival.username.replace('@', '%40')}" in shown
    first = {sort: client.get(f"/console/holders/?sort={sort}").content.decode() for sort in ("orders", "lapsed", "x")}
    assert [re.findall(found, page)[0][0] for page in first.values()] == [
        buyer.username,
        rival.username,
        rival.username,
    ]
    client.force_login(buyer)
    assert client.get("/console/holders/").status_code == 403


def test_no_one_holds_anything(merchant: User) -> None:
    """The page says so."""
    client = Client()
    client.force_login(merchant)
    assert "data-nothing" in client.get("/console/holders/").content.decode()
