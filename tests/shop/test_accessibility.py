"""Every page of the shop under axe-core, in both languages, at a desk and on a phone: nothing serious."""

import re
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.shop.browsing import (
    AXE,
    LANGUAGES,
    SIZES,
    Windows,
    assert_accessible,
    browser,
    missing,
    place_order,
    put_into_cart,
    sign_in_as_merchant,
    sign_up,
)
from tests.shop.running import Run

__all__ = ["browser"]  # pytest finds the fixture here


@pytest.fixture
def open_shop(standing: Run) -> Run:
    """Return the shop that stands open, if axe-core is there to look at it."""
    if not AXE.exists():
        missing("no axe-core: with npm on the path, rm .venv/dev.stamp and make test install it")
    return standing


def looks(short: str) -> pytest.MarkDecorator:
    """Return the mark for every language at every size: `short` is in `make test`, the others are long."""
    every = {f"{language}-{size}": (language, size) for language in LANGUAGES for size in SIZES}
    return pytest.mark.parametrize(
        "look",
        [pytest.param(look, id=name, marks=() if name == short else pytest.mark.long) for name, look in every.items()],
        indirect=True,
    )


@pytest.fixture
def look(request: pytest.FixtureRequest, browser: Browser, open_shop: Run) -> Iterator[Callable[[], Page]]:
    """Open windows of this size in this language; pages that say no are among those that are looked at."""
    windows = Windows(browser, open_shop)
    yield partial(windows, *request.param)
    windows.close()
    faults = [error for error in windows.errors if not re.search(r"status of (404|409|422|403)", error)]
    assert faults == []


@looks("en-wide")
def test_what_a_visitor_sees(look: Callable[[], Page]) -> None:
    """The products, one product, the cart, the forms, and the 404 page."""
    page = look()
    for address in ("/", "/products/GAIWAN/", "/cart/", "/sign-in/", "/sign-up/", "/nothing/"):
        page.goto(address)
        assert_accessible(page, address)
    page.goto("/sign-up/")
    page.fill("input[name=email]", "somebody@shop.example")
    page.fill("input[name=password]", "1")
    page.click("main button[type=submit]")
    expect(page.locator("[data-error]").first).to_be_visible()
    assert_accessible(page, "a form with errors")


@looks("zh-hans-phone")
def test_what_a_buyer_sees(look: Callable[[], Page]) -> None:
    """From the filled cart to an order that waits, one that is cancelled, and the list of both; and every refusal."""
    page = look()
    sign_up(page)
    page.goto("/orders/")
    assert_accessible(page, "no orders")
    put_into_cart(page, "GAIWAN", "OOLONG")
    assert_accessible(page, "the shelf that says what was added")
    for address in ("/cart/", "/checkout/"):
        page.goto(address)
        assert_accessible(page, address)
    for field, value, refusal in (("price", "1.00", "price-changed"), ("quantity", "900", "sold-out")):
        page.evaluate(f"document.querySelector('input[name={field}-GAIWAN]').value = '{value}'")
        page.click("[data-order-form] button")
        expect(page.locator("[data-refusal]")).to_have_attribute("data-refusal", refusal)
        assert_accessible(page, refusal)
    page.goto("/checkout/")
    page.click("[data-order-form] button")
    expect(page.locator("[data-countdown]")).to_have_text(re.compile(r"^\d+:\d\d$"))
    assert_accessible(page, "an order that waits")
    address = page.url
    page.goto("/orders/")
    assert_accessible(page, "the orders")
    page.goto(address)
    page.click("[data-cancel]")
    expect(page.locator("[data-order-again]")).to_be_visible()
    assert_accessible(page, "an order that is cancelled")


@looks("en-phone")
def test_what_a_payer_sees(look: Callable[[], Page]) -> None:
    """The simulator's cashier in each of its steps, its page of trades and faults, and the order that is paid."""
    page = look()
    sign_up(page)
    put_into_cart(page, "LINEN-CLOTH")
    place_order(page)
    page.click("[data-pay]")
    expect(page.locator("[data-code]")).to_be_visible()
    cashier = page.url
    page.click("header .name")
    assert_accessible(page, "the simulator's trades")
    page.click("[data-trade] a")
    expect(page.locator("[data-fault=notify]")).to_be_visible()
    assert_accessible(page, "the simulator's faults of a trade")
    page.goto(cashier)
    for button in ("[data-scan]", "main [data-pay]"):
        expect(page.locator(button)).to_be_visible()
        assert_accessible(page, f"the cashier with {button}")
        page.click(button)
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "paid")
    assert_accessible(page, "an order that is paid")


@looks("zh-hans-wide")
def test_what_the_merchant_sees(look: Callable[[], Page], open_shop: Run) -> None:
    """Every page of the console."""
    page = look()
    sign_in_as_merchant(page, open_shop)
    for address in ("", "statistics/", "orders/", "money/", "stock/", "buried/"):
        page.goto(f"/console/{address}")
        assert_accessible(page, f"/console/{address}")
    page.goto("/console/orders/")
    order = page.locator("[data-order] a").first
    if order.count():
        order.click()
        assert_accessible(page, "an order in the console")
        payment = page.locator("[data-attempt] a").first
        if payment.count():
            payment.click()
            assert_accessible(page, "a payment in the console")
