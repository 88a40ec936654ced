"""Money that comes after the cancel, in a real browser, with the shop as `make run` starts it and its worker."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.shop.browsing import (
    Windows,
    assert_accessible,
    browser,
    opened,
    place_order,
    put_into_cart,
    shown,
    sign_in_as_merchant,
    sign_up,
    visit,
)
from tests.shop.running import Run, eventually

__all__ = ["browser", "visit"]  # pytest finds the fixtures here

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Open a shop in which an order must be paid within some seconds."""
    yield from opened(tmp_path_factory.mktemp("browser"), "redis://", "10")


def set_faults(cashier: str, **faults: object) -> None:
    """Set faults of the simulator that has this cashier."""
    at = urlsplit(cashier)
    answer = httpx.put(f"{at.scheme}://{at.netloc}/control/faults", json=faults, trust_env=False, timeout=30)
    answer.raise_for_status()


def reload_until(page: Page, what: str) -> None:
    """Load the page again and again until this element is on it: the worker refunds every few seconds."""

    def is_there() -> bool:
        page.goto(page.url, wait_until="domcontentloaded")
        return page.locator(what).count() > 0

    assert eventually(is_there), page.content()


def open_cashier(page: Page) -> Page:
    """Go to the cashier, scan nothing, and return a tab that shows the order."""
    order = page.url
    page.click("[data-pay]")
    expect(page.locator("[data-scan]")).to_be_visible()
    beside = page.context.new_page()
    beside.goto(order)
    return beside


def pay_late(cashier: Page) -> None:
    """Scan and pay the link of an order that was cancelled; the browser comes back to the shop."""
    cashier.goto(cashier.url, wait_until="domcontentloaded")
    cashier.click("[data-scan]")
    cashier.click("main [data-pay]")
    expect(cashier.locator("[data-order]")).to_be_visible()


def hold_all_of(shop: Run, sku: str) -> None:
    """Let another buyer order every piece that is left."""
    with shop.api() as api:
        listed = api.get("/products").json()
        product = next(one for one in (listed["items"] if isinstance(listed, dict) else listed) if one["sku"] == sku)
        line = {"sku": sku, "quantity": product["available"], "unit_price": product["price"]}
        answer = api.post("/orders", json={"lines": [line]})
        assert answer.status_code == 201, answer.text


def test_late_money_is_reinstated_or_refunded_and_the_work_list_emptied(visit: Windows) -> None:
    """Three buyers pay a link whose order is gone, and no notify arrives.

    The first order is reinstated. The stock of the second order is gone, so its money goes back. The provider refuses
    the refund of the third: the merchant sees why, and refunds it when the provider allows it again.
    """
    buyers = [visit(), visit("zh-hans", "phone"), visit()]
    merchant = visit()
    sign_in_as_merchant(merchant, visit.shop)
    tabs, skus = [], []
    for number, buyer in enumerate(buyers):
        sign_up(buyer)
        skus.append(list(shown(buyer))[number + 1])
        put_into_cart(buyer, skus[-1])
        place_order(buyer)
        tabs.append(open_cashier(buyer))
    cashier = buyers[0].url
    set_faults(cashier, notify="drop", overtime=True)
    for tab in tabs:
        expect(tab.locator("[data-order]")).to_have_attribute("data-status", "cancelled")
        expect(tab.locator("[data-money=asked]")).to_be_visible()  # the link may still be paid: nothing false is said

    pay_late(buyers[0])
    expect(buyers[0].locator("[data-order]")).to_have_attribute("data-status", "paid")
    expect(buyers[0].locator("[data-money=reinstated]")).to_be_visible()

    hold_all_of(visit.shop, skus[1])
    pay_late(buyers[1])
    expect(buyers[1].locator("[data-order]")).to_have_attribute("data-status", "cancelled")
    reload_until(buyers[1], "[data-money=refunded]")

    set_faults(cashier, refund_refused="ACQ.REASON_TRADE_REFUND_FEE_ERR")
    hold_all_of(visit.shop, skus[2])
    pay_late(buyers[2])
    reload_until(buyers[2], "[data-money=review]")
    merchant.goto("/console/money/")
    expect(merchant.locator("[data-payment]")).to_have_count(1)
    expect(merchant.locator("[data-reason]")).to_contain_text("the gateway refuses to refund")
    set_faults(cashier, refund_refused="")
    merchant.click("[data-refund] summary")
    merchant.click("[data-refund] button")
    reload_until(merchant, "[data-nothing]")
    reload_until(buyers[2], "[data-money=refunded]")


@pytest.mark.parametrize(("language", "size"), [("en", "wide"), ("zh-hans", "phone")], ids=["en-wide", "zh-hans-phone"])
def test_a_payment_is_written_off_while_its_buyer_looks(visit: Windows, language: str, size: str) -> None:
    """The merchant takes a payment, notes something and keeps its money. The buyer's open page follows by itself."""
    buyer, merchant = visit(language, size), visit(language, size)
    sign_in_as_merchant(merchant, visit.shop)
    sign_up(buyer)
    sku = list(shown(buyer))[4 if size == "wide" else 5]
    put_into_cart(buyer, sku)
    place_order(buyer)
    order = open_cashier(buyer)
    set_faults(buyer.url, notify="drop", overtime=True, refund_refused="ACQ.REASON_TRADE_REFUND_FEE_ERR")
    expect(order.locator("[data-order]")).to_have_attribute("data-status", "cancelled")
    hold_all_of(visit.shop, sku)
    pay_late(buyer)
    expect(order.locator("[data-money=review]")).to_be_visible()  # it was never loaded again

    merchant.goto("/console/money/?filter=decision")
    assert_accessible(merchant, "the work list")
    merchant.click("[data-payment] [data-take]")
    merchant.goto("/console/money/?filter=mine")
    merchant.locator("[data-payment] h2 a").first.click()
    merchant.fill("textarea[name=text]", "The buyer rang.\nAgreed.")
    merchant.click(".note-form button")
    expect(merchant.locator("[data-note]")).to_contain_text("Agreed.")
    merchant.locator("[data-write-off] summary").focus()
    merchant.keyboard.press("Enter")  # by the keyboard alone
    merchant.keyboard.press("Tab")
    merchant.keyboard.type("We agreed by telephone.")
    assert_accessible(merchant, "the page of a payment")
    merchant.keyboard.press("Tab")
    merchant.keyboard.press("Enter")
    expect(merchant.locator(".payment")).to_have_attribute("data-state", "kept")
    expect(order.locator("[data-money=written-off]")).to_contain_text("We agreed by telephone.")
    assert_accessible(order, "an order whose money was written off")
    merchant.goto("/console/money/")
    expect(merchant.locator("[data-nothing]")).to_be_visible()
