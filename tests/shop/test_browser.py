"""A buyer and the merchant in a real browser, on the shop as `make run` starts it."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from playwright.sync_api import expect

from tests.shop.browsing import (
    PASSWORD,
    PATIENCE_MS,
    STATE_TEXTS,
    Windows,
    browser,
    expect_stock,
    opened,
    pay,
    place_order,
    press_by_keyboard,
    put_into_cart,
    see_it_lapse,
    shown,
    sign_in_as_merchant,
    sign_up,
    tab_to,
    visit,
)
from tests.shop.running import Run, place

__all__ = ["browser", "visit"]  # pytest finds the fixtures here
WINDOW = "20"
"""Seconds to pay: enough to go to the cashier and back on a busy machine, and short enough to wait for."""


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Open a shop in which an order must be paid within some seconds."""
    yield from opened(tmp_path_factory.mktemp("browser"), "redis://", WINDOW)


@pytest.mark.parametrize(
    ("language", "size"), [pytest.param("en", "wide", marks=pytest.mark.long), ("zh-hans", "phone")]
)
def test_a_buyer_pays_and_buys_again_and_lets_it_lapse(visit: Windows, language: str, size: str) -> None:
    """Two products are paid at the cashier, then ordered again and not paid: pages and stock update themselves."""
    page, shelf = visit(language, size), visit()
    paid, lapsed, reason = STATE_TEXTS[language]
    shelf.goto("/")
    shelf.evaluate("window.never_reloaded = true")
    before = shown(shelf)
    first, second = list(before)[1:3]
    sign_up(page)
    put_into_cart(page, first, second)
    address = place_order(page)
    expect_stock(shelf, {first: before[first] - 1, second: before[second] - 1})
    other = visit.beside(page.context.new_page())
    other.goto(address)
    other.evaluate("window.never_reloaded = true")
    pay(page)
    expect(other.locator("[data-order]")).to_have_attribute("data-status", "paid")
    expect(other.locator("[data-state-line]")).to_have_text(paid)
    assert other.evaluate("window.never_reloaded")
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "paid")

    put_into_cart(page, first, second)
    place_order(page)
    expect_stock(shelf, {first: before[first] - 2, second: before[second] - 2})
    other.goto("/orders/")
    other.evaluate("window.never_reloaded = true")
    expect(other.locator("[data-status=awaiting_payment] [data-countdown]")).to_have_text(re.compile(r"0:0[1-7]"))
    see_it_lapse(page, lapsed, reason)
    expect_stock(shelf, {first: before[first] - 1, second: before[second] - 1})
    expect(other.locator("[data-order][data-status=cancelled]")).to_have_count(1)
    expect(other.locator("[data-order][data-status=paid]")).to_have_count(1)
    assert shelf.evaluate("window.never_reloaded")
    assert other.evaluate("window.never_reloaded")
    page.click("[data-order-again]")
    expect(page.locator("[data-line]")).to_have_count(2)


@pytest.mark.long
def test_by_keyboard_alone(visit: Windows) -> None:
    """From signing up to ordering again after a lapse, with the keyboard only."""
    page = visit()
    page.goto("/")
    press_by_keyboard(page, "nav a[href='/sign-up/']")
    tab_to(page, "input[name=email]")
    page.keyboard.type(f"k{datetime.now(UTC).timestamp()}@shop.example")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".shelf")).to_be_visible()
    for number, sku in enumerate(list(shown(page))[3:5], start=1):
        press_by_keyboard(page, f"[data-sku={sku}] [data-add-to-cart]")
        expect(page.locator("[data-cart-count]")).to_have_text(str(number))
    press_by_keyboard(page, "nav a[href='/cart/']")
    press_by_keyboard(page, "[data-checkout]")
    press_by_keyboard(page, "[data-order-form] button")
    expect(page.locator("[data-countdown]")).to_be_visible()
    pay(page, press_by_keyboard)
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "paid")
    press_by_keyboard(page, "nav a[href='/']")
    press_by_keyboard(page, "[data-add-to-cart]")
    expect(page.locator("[data-cart-count]")).to_have_text("1")
    press_by_keyboard(page, "nav a[href='/cart/']")
    press_by_keyboard(page, "[data-checkout]")
    press_by_keyboard(page, "[data-order-form] button")
    tab_to(page, "[data-cancel]")
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "cancelled")
    focused = page.locator(":focus")
    expect(focused).to_have_attribute("data-swap", "state")
    press_by_keyboard(page, "[data-order-again]")
    expect(page.locator("[data-checkout]")).to_be_visible()


def test_where_no_stream_comes_through(visit: Windows) -> None:
    """A page whose stream is refused polls instead, and still updates itself."""
    page = visit()
    page.route("**/events/", lambda route: route.fulfill(status=429, body="too many"))
    sign_up(page)
    put_into_cart(page, "BAMBOO-WHISK")
    address = place_order(page)
    other = visit.beside(page.context.new_page())
    other.goto(address)
    other.click("[data-cancel]")
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "cancelled")
    expect(page.locator("[data-state-more]")).to_have_text("You cancelled it.")
    assert page.evaluate("window.never_reloaded")
    visit.errors[:] = [error for error in visit.errors if "429" not in error]


def test_without_scripts(visit: Windows) -> None:
    """Without JavaScript everything works, except that pages do not update themselves."""
    page = visit(scripts=False)
    page.goto("/sign-up/?next=/products/LINEN-CLOTH/")
    page.fill("input[name=email]", f"n{datetime.now(UTC).timestamp()}@shop.example")
    page.fill("input[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    page.fill("input[name=quantity]", "2")
    page.click("[data-add-to-cart]")
    page.fill("[data-line] input", "3")
    page.click("[data-update]")
    expect(page.locator("[data-total]")).to_have_text("¥117.00")
    page.click("[data-checkout]")
    page.click("[data-order-form] button")
    expect(page.locator("[data-countdown]")).to_contain_text("UTC")
    page.click("[data-cancel]")
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "cancelled")
    page.click("[data-language] button")
    expect(page.locator("[data-state-more]")).to_have_text("您取消了订单。")


def test_the_console_shows_what_lapsed(visit: Windows) -> None:
    """An order over the API lapses, never early; the merchant's console lists it and counts it with its amount."""
    merchant = visit()
    sign_in_as_merchant(merchant, visit.shop)

    def expired() -> tuple[int, Decimal]:
        merchant.goto("/console/")
        row = merchant.locator("[data-event=expired]")
        count, amount = row.get_attribute("data-count"), row.get_attribute("data-amount")
        return int(count or "0"), Decimal(amount or "0")

    count, amount = expired()
    with visit.shop.api() as api:
        placed = place(api)
        order = placed
        end = time.monotonic() + PATIENCE_MS / 1000
        while order["status"] != "cancelled" and time.monotonic() < end:
            time.sleep(0.1)
            order = api.get(f"/orders/{placed['id']}").json()
        assert (order["status"], order["cancel_reason"]) == ("cancelled", "expired")
        assert datetime.fromisoformat(order["cancelled_at"]) >= datetime.fromisoformat(order["pay_by"])
    assert expired() == (count + 1, amount + Decimal(placed["total"]))
    merchant.goto("/console/orders/")
    expect(merchant.locator(f"[data-order='{placed['id']}']")).to_have_attribute("data-status", "cancelled")
