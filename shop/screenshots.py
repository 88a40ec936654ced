"""`make screenshots`: the pictures of the README, taken from a shop that runs.

A separate shop is opened, filled with past orders, visited by buyers and by the merchant, and closed. Chromium must be
on the path.
"""

import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from shop.running.trial import TrialFailed, TrialShop, trial_shop

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
WINDOW = "75"
"""Seconds to pay in this shop: long enough for the first picture, and short enough to wait for the second."""
PATIENCE_MS = 120_000
WIDE: "ViewportSize" = {"width": 1200, "height": 800}
PHONE: "ViewportSize" = {"width": 390, "height": 844}
WISHES = ("CELADON-TEAPOT", "LONGJING", "ASH-GLAZE-CUP")
PAST_ORDERS = 900


def main() -> int:
    """Take all pictures and return the exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with trial_shop(LAPSE_PAYMENT_WINDOW=WINDOW) as shop, _chromium() as browser:
            _invent_past(shop)
            _others(shop, 12)
            _buyer(browser, shop)
            _merchant(browser, shop)
    except TrialFailed as error:
        print(error, file=sys.stderr)  # noqa: T201  # a command speaks
        return 1
    return 0


def _invent_past(shop: TrialShop) -> None:
    invented = shop.manage("invent_past", str(PAST_ORDERS), "--days", "9")
    if invented.returncode:
        raise TrialFailed(invented.stderr)


def _others(shop: TrialShop, orders: int) -> None:
    """Let another buyer place so many orders without paying them."""
    with httpx.Client(base_url=f"{shop.url}/api", timeout=30) as api:
        password = secrets.token_urlsafe(12)
        signed_up = api.post("/buyers", json={"email": f"{secrets.token_hex(4)}@example.com", "password": password})
        api.headers["Authorization"] = f"Bearer {signed_up.json()['token']}"
        for _ in range(orders):
            line = {"sku": "LINEN-CLOTH", "quantity": 1, "unit_price": "39.00"}
            placed = api.post("/orders", json={"lines": [line]})
            if placed.is_error:
                raise TrialFailed(placed.text)


@contextmanager
def _chromium() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # the shop itself does not need it

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise TrialFailed("There is no Chromium on the path (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container seldom has. Chromium sees only this shop's own pages.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


def _buyer(browser: "Browser", shop: TrialShop) -> None:
    """Take the storefront, an order that counts down, and the same order after it has lapsed."""
    page = _window(browser, shop)
    page.goto("/sign-up/")
    page.fill("main input[name=email]", "buyer@example.com")
    page.fill("main input[name=password]", "a long pass phrase 7")
    page.click("main button[type=submit]")
    page.goto("/")
    _shoot(page, "storefront")
    for sku in WISHES:
        page.goto(f"/products/{sku}/")
        page.click("main [data-add-to-cart]")
        page.wait_for_load_state("networkidle")
    page.goto("/cart/")
    page.click("[data-checkout]")
    page.click("main form button[type=submit]")
    order = page.locator("[data-order]")
    order.wait_for()
    page.wait_for_timeout(1500)
    _shoot(page, "order-counting-down")
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(500)
    _shoot(page, "order-counting-down-phone")
    page.set_viewport_size(WIDE)
    # No button is pressed and nothing is reloaded: the page updates itself.
    page.locator("[data-order][data-status=cancelled]").wait_for()
    page.wait_for_timeout(800)
    _shoot(page, "order-lapsed")
    page.context.close()


def _merchant(browser: "Browser", shop: TrialShop) -> None:
    """Take the console's overview."""
    _others(shop, 7)
    page = _window(browser, shop)
    page.goto("/sign-in/?next=/console/")
    page.fill("main input[name=email]", shop.merchant_email)
    page.fill("main input[name=password]", shop.merchant_password)
    page.click("main button[type=submit]")
    page.locator("[data-ok]").wait_for()
    _shoot(page, "console", whole=True)
    page.context.close()


def _window(browser: "Browser", shop: TrialShop) -> "Page":
    page = browser.new_context(base_url=shop.url, viewport=WIDE, locale="en-GB").new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page


def _shoot(page: "Page", name: str, *, whole: bool = False) -> None:
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file, full_page=whole, animations="disabled")
    print(f"{file.relative_to(FOLDER.parent.parent)}")  # noqa: T201  # a command speaks


if __name__ == "__main__":
    sys.exit(main())
