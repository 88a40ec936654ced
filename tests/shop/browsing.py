"""What many tests in a browser do: open windows, sign up, fill the cart, pay, and check each page."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lapse.testing.ports import free_port
from tests.shop.running import Run

PATIENCE_MS = 60_000
PASSWORD = "a long pass phrase 7"
AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
LANGUAGES = {"en": "en-US", "zh-hans": "zh-CN"}
STATE_TEXTS = {
    "en": ("Paid", "Cancelled, and the stock is released", "It was not paid in time."),
    "zh-hans": ("已付款", "已取消，库存已恢复", "未在时限内付款。"),
}
SIZES = {"wide": (1200, 900), "phone": (390, 844)}


def missing(program: str) -> None:
    """Skip, so that the end of the run lists what is missing; in CI it is a failure."""
    if os.environ.get("CI"):
        pytest.fail(program)
    pytest.skip(program)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("no Chromium on the path (Debian: apt-get install chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Its sandbox wants rights that a container seldom gives; it only sees this test's own pages.
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


def opened(folder: Path, timer: str, window: str, **settings: str) -> Iterator[Run]:
    """Open a shop, yield its run, and see it close in good order, with the pages that are still open."""
    settings |= {"LAPSE_TIMER": timer, "LAPSE_PAYMENT_WINDOW": window, "LEAST_TIME_TO_PAY": "1"}
    run = Run(folder / "run", free_port(), **settings)
    try:
        yield run.opened()
    finally:
        run.process.terminate()
        assert run.process.wait(PATIENCE_MS / 1000) == 0, run.output


class Windows:
    """Windows on one shop that share nothing; any error on a page fails the test in the end."""

    def __init__(self, browser: Browser, shop: Run) -> None:
        self._browser = browser
        self.shop = shop
        self.errors: list[str] = []
        self._contexts: list[Any] = []

    def __call__(self, language: str = "en", size: str = "wide", *, scripts: bool = True) -> Page:
        """Open a window whose browser asks for this language, and return its page."""
        width, height = SIZES[size]
        self._contexts.append(
            self._browser.new_context(
                base_url=f"http://127.0.0.1:{self.shop.port}",
                locale=LANGUAGES[language],
                viewport={"width": width, "height": height},
                java_script_enabled=scripts,
            )
        )
        return self.beside(self._contexts[-1].new_page())

    def beside(self, page: Page) -> Page:
        """Collect this page's errors too, and return the page."""
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        return page

    def close(self) -> None:
        """Close all windows."""
        for context in self._contexts:
            context.close()


@pytest.fixture
def visit(browser: Browser, open_shop: Run) -> Iterator[Windows]:
    """Open windows on the module's shop."""
    windows = Windows(browser, open_shop)
    yield windows
    windows.close()
    assert windows.errors == []


def sign_up(page: Page) -> None:
    """Sign a new buyer up, on the page for that."""
    page.goto("/sign-up/")
    page.fill("input[name=email]", f"b{datetime.now(UTC).timestamp()}@shop.example")
    page.fill("input[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    expect(page.locator(".shelf")).to_be_visible()


def sign_in_as_merchant(page: Page, shop: Run) -> None:
    """Sign in with the account that the run has made."""
    secrets = json.loads((shop.folder / "secrets.json").read_text())
    page.goto("/sign-in/")
    page.fill("input[name=email]", secrets["MERCHANT_EMAIL"])
    page.fill("input[name=password]", secrets["MERCHANT_PASSWORD"])
    page.click("main button[type=submit]")


def put_into_cart(page: Page, *skus: str) -> None:
    """Add one piece of each from the shelf, which stays in view."""
    page.goto("/")
    for sku in skus:
        count = int(page.locator("[data-cart-count]").inner_text())
        page.locator(f"[data-sku={sku}] [data-add-to-cart]").click()
        expect(page.locator("[data-cart-count]")).to_have_text(str(count + 1))


def place_order(page: Page) -> str:
    """Order what is in the cart. Return the address of the order's page, where the countdown runs."""
    page.goto("/cart/")
    page.click("[data-checkout]")
    page.click("[data-order-form] button")
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "awaiting_payment")
    expect(page.locator("[data-countdown]")).to_have_text(re.compile(r"^\d+:\d\d$"))
    page.evaluate("window.never_reloaded = true")
    return page.url


def pay(page: Page, press: Callable[[Page, str], None] = lambda page, what: page.click(what)) -> None:
    """Go from the order's page to the cashier of the simulator, scan the code and pay."""
    press(page, "[data-pay]")
    expect(page.locator("[data-scan]")).to_be_visible()
    press(page, "[data-scan]")
    expect(page.locator("main [data-pay]")).to_be_visible()
    press(page, "main [data-pay]")


def shown(page: Page) -> dict[str, int]:
    """Return how many pieces of each product the open page shows, by SKU."""
    cards = page.locator(".shelf [data-sku]").all()
    return {card.get_attribute("data-sku") or "": int(card.get_attribute("data-available") or "-1") for card in cards}


def expect_stock(page: Page, wanted: dict[str, int]) -> None:
    """Wait until the shelf shows these numbers, without a reload."""
    for sku, available in wanted.items():
        expect(page.locator(f"[data-sku={sku}]")).to_have_attribute("data-available", str(available))


def tab_to(page: Page, what: str) -> None:
    """Press the tabulator until this element has the focus, and assert that the focus is visible."""
    for _ in range(120):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count() and focused.evaluate("(node, what) => node.matches(what)", what):
            outline = focused.evaluate("(node) => getComputedStyle(node).outlineStyle")
            assert outline != "none", f"{what} has the focus and does not show it"
            return
    raise AssertionError(f"{what} cannot be reached by keyboard")


def press_by_keyboard(page: Page, what: str) -> None:
    """Go to this element by keyboard and press it."""
    tab_to(page, what)
    page.keyboard.press("Enter")


def assert_accessible(page: Page, name: str) -> None:
    """Let axe-core look at the page: nothing serious, nothing critical, nothing wider than the window."""
    page.evaluate(AXE.read_text() + ";0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    bad = [
        (one["impact"], one["id"], [node["html"] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == [], f"{name}: {bad}"
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, f"{name} is {wider} pixels wider than its window"


def see_it_lapse(page: Page, state: str, reason: str) -> None:
    """Wait until the order's page shows, without a reload, that the order is cancelled and why."""
    expect(page.locator("[data-order]")).to_have_attribute("data-status", "cancelled")
    expect(page.locator("[data-state-line]")).to_have_text(state)
    expect(page.locator("[data-state-more]")).to_have_text(reason)
    expect(page.locator("[data-pay]")).to_have_count(0)
    expect(page.locator("[data-order-again]")).to_be_visible()
    assert page.evaluate("window.never_reloaded")
