"""A buyer and the merchant in a real browser, on the shop as `make run` starts it, with each mechanism."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lapse.testing.redis_server import free_port
from tests.shop.test_run import Run, place

PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing = "no Chromium on the path (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Its sandbox wants rights that a container seldom gives; it only sees this test's own pages.
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["redis://", "redis+expiry://"])
def open_shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Open a shop in which an order must be paid within some seconds."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    run = Run(folder, free_port(), LAPSE_TIMER=request.param, LAPSE_PAYMENT_WINDOW="10")
    try:
        yield run.opened()
    finally:
        run.process.terminate()
        assert run.process.wait(PATIENCE_MS / 1000) == 0


@pytest.fixture
def visit(browser: Browser, open_shop: Run) -> Iterator[Callable[[], Page]]:
    """Open windows that share nothing; any error on a page fails the test."""
    errors: list[str] = []
    contexts = []

    def open_window() -> Page:
        contexts.append(browser.new_context(base_url=f"http://127.0.0.1:{open_shop.port}"))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert errors == []


def sign_up(page: Page) -> None:
    """Sign a new buyer up."""
    page.goto("/sign-up/")
    page.fill("input[name=email]", f"b{datetime.now(UTC).timestamp()}@shop.example")
    page.fill("input[name=password]", "a long pass phrase 7")
    page.click("main button[type=submit]")
    expect(page.locator("[data-order-form] button")).to_be_visible()


def order(page: Page, **quantities: int) -> None:
    """Order so many of each SKU and arrive at the order's page."""
    for sku, quantity in quantities.items():
        page.fill(f"input[name=quantity-{sku}]", str(quantity))
    page.click("[data-order-form] button")
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "awaiting_payment")


def available(page: Page) -> dict[str, int]:
    """Read how many of each product there are."""
    page.goto("/")
    cards = page.locator("[data-sku]").all()
    return {card.get_attribute("data-sku") or "": int(card.get_attribute("data-available") or "-1") for card in cards}


def test_an_unpaid_order_lapses_before_the_buyers_eyes(visit: Callable[[], Page]) -> None:
    """The page counts down and turns without a reload; another window sees the stock go and come back."""
    page, other = visit(), visit()
    sign_up(page)
    before = available(other)
    first, second = list(before)[:2]
    order(page, **{first: 2, second: 1})
    page.evaluate("window.never_reloaded = true")
    expect(page.locator("[data-countdown]")).to_have_text("0:05")
    assert available(other) == before | {first: before[first] - 2, second: before[second] - 1}
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "cancelled")
    expect(page.locator("[data-state-line]")).to_have_text("Cancelled, the stock is back")
    expect(page.locator("[data-state-more]")).to_have_text("It was not paid in time.")
    expect(page.locator("[data-pay]")).to_have_count(0)
    assert page.evaluate("window.never_reloaded")
    assert available(other) == before


def test_a_paid_order_stays_paid(visit: Callable[[], Page]) -> None:
    """Paid at the development gateway in another window, the order's page turns and the stock stays sold."""
    page, other = visit(), visit()
    sign_up(page)
    before = available(page)
    sku = list(before)[2]
    order(page, **{sku: 3})
    order_url = page.url
    page.click("[data-pay]")
    expect(page).to_have_url(re.compile("/pay/"))
    other.goto(page.url)
    page.goto(order_url)
    other.click("main button")
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "paid")
    assert available(page) == before | {sku: before[sku] - 3}


def test_the_figures_agree(visit: Callable[[], Page], open_shop: Run) -> None:
    """An order over the API lapses, never early, and the merchant's page counts it with its amount."""
    merchant = visit()
    secrets = json.loads((open_shop.folder / "secrets.json").read_text())
    merchant.goto("/sign-in/")
    merchant.fill("input[name=email]", "merchant@shop.example")
    merchant.fill("input[name=password]", secrets["MERCHANT_PASSWORD"])
    merchant.click("main button[type=submit]")

    def expired() -> tuple[int, Decimal]:
        merchant.goto("/statistics/")
        row = merchant.locator("[data-figure=expired]")
        count, amount = row.get_attribute("data-count"), row.get_attribute("data-amount")
        return int(count or "0"), Decimal(amount or "0")

    count, amount = expired()
    with open_shop.api() as api:
        placed = place(api)
        order = placed
        end = datetime.now(UTC).timestamp() + PATIENCE_MS / 1000
        while order["status"] != "cancelled" and datetime.now(UTC).timestamp() < end:
            time.sleep(0.1)
            order = api.get(f"/orders/{placed['id']}").json()
        assert (order["status"], order["cancel_reason"]) == ("cancelled", "expired")
        assert datetime.fromisoformat(order["cancelled_at"]) >= datetime.fromisoformat(order["pay_by"])
    assert expired() == (count + 1, amount + Decimal(placed["total"]))
