"""With no timer and no worker: every reader of an overdue order lapses it first, by the one transition."""

import json
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from shop.catalogue.models import Product
from shop.orders.models import Status
from tests.shop.rehearsal import api_of, assert_no_drift, make_overdue, order_of, stock_of

Meet = Callable[[Client, User, str], str]
"""Meets the order, as its buyer, by its public id; gives what was answered."""


def page(address: str) -> Meet:
    """Fetch a page."""
    return lambda client, _, order: client.get(address.format(order)).content.decode()


def api(method: str, path: str) -> Meet:
    """Call the API."""
    return lambda _client, buyer, order: api_of(buyer)(method, path.format(order)).content.decode()


def press(address: str) -> Meet:
    """Press a button and return the page that follows, without reading a page first."""
    return lambda client, _, order: client.post(address.format(order), follow=True).content.decode()


SURFACES: dict[str, Meet] = {
    "the list": page("/orders/"),
    "the order's page": page("/orders/{}/"),
    "what the page asks for": page("/orders/{}/status/"),
    "the API's list": api("GET", "/orders"),
    "the API's order": api("GET", "/orders/{}"),
    "paying by the API": api("POST", "/orders/{}/pay"),
    "paying by the page": press("/orders/{}/pay/"),
    "cancelling by the API": api("POST", "/orders/{}/cancel"),
}


@pytest.fixture(autouse=True)
def alone(shop: Settings) -> None:
    """Use no timer."""
    shop.LAPSE_TIMER = "none"


@pytest.mark.parametrize("surface", SURFACES)
def test_nobody_sees_an_overdue_order_as_payable(surface: str, client: Client, buyer: User, cup: Product) -> None:
    """The overdue order expires once and its stock is released, the response says so, and other orders stay."""
    overdue, other = order_of(buyer, cup), order_of(buyer, cup)
    make_overdue(overdue)
    client.force_login(buyer)
    for _ in range(2):
        answer = SURFACES[surface](client, buyer, overdue.public_id)
        overdue.refresh_from_db()
        assert (overdue.status, overdue.cancel_reason) == (Status.CANCELLED, "expired")
        assert "cancelled" in answer
    other.refresh_from_db()
    assert other.status == Status.AWAITING_PAYMENT
    assert stock_of(cup) == (10, 1)
    assert overdue.audit_trail.filter(what="cancelled", reason="expired", actor="reader").count() == 1
    assert_no_drift()


def test_the_lists_say_so_too(client: Client, buyer: User, cup: Product) -> None:
    """Of ten overdue orders none is listed as payable, on the page or by the API."""
    orders = [order_of(buyer, cup) for _ in range(10)]
    make_overdue(*orders[:5])
    client.force_login(buyer)
    assert client.get("/orders/").content.decode().count('data-status="cancelled"') == 5
    make_overdue(*orders[5:])
    items = json.loads(api_of(buyer)("GET", "/orders").content)["items"]
    assert {item["status"] for item in items} == {"cancelled"}
    assert not any(item["payable"] for item in items)
