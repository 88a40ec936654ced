"""The simulator's own page: trades, notifies, faults, and the code that a phone follows."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from lapse.gateways.alipay import AlipayGateway, AlipaySettings
from lapse.testing.alipay import FAULTS, AlipaySimulator, Buyer, qr_code
from lapse.testing.alipay.__main__ import in_network
from tests.alipay_keys import APP
from tests.gateways.listening import Listener, eventually


class Page:
    """A simulator, a shop that receives its notifies, and a browser without scripts."""

    def __init__(self, alipay: AlipaySimulator, shop: Listener) -> None:
        self.alipay, self.shop = alipay, shop
        self.browser = httpx.Client(base_url=alipay.url, follow_redirects=True, trust_env=False)
        self.gateway = AlipayGateway(
            AlipaySettings(
                app_id=alipay.app_id,
                seller_id=alipay.seller_id,
                private_key=APP.private,
                alipay_public_key=alipay.public_key,
                gateway_url=alipay.gateway_url,
                notify_url=shop.url,
                return_url="http://shop.example/back/",
            )
        )

    def opened(self, number: str, subject: str = "茶杯") -> Buyer:
        """Open a new link and return its buyer."""
        end = datetime.now(UTC) + timedelta(minutes=10)
        return Buyer(self.gateway.page_pay_url(number, Decimal("58.00"), subject, end))

    def card(self, number: str) -> str:
        """Return the HTML of a trade in the list."""
        listed = self.browser.get("/?lang=en").text
        found = re.search(rf'<article[^>]*data-trade="{number}".*?</article>', listed, re.DOTALL)
        assert found
        return found[0]

    def press(self, path: str, **fields: Any) -> httpx.Response:
        """Press a button; return the page to which it leads."""
        return self.browser.post(path, data=fields)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Open one simulator for all tests here; each uses numbers of its own."""
    with AlipaySimulator(APP.public) as alipay, Listener() as shop:
        opened = Page(alipay, shop)
        with opened.browser, opened.gateway:
            yield opened


@pytest.fixture(autouse=True)
def no_faults(page: Page) -> None:
    """Begin without faults."""
    page.alipay.reset()


def test_a_trade_from_the_link_to_the_refund(page: Page) -> None:
    """Each step is a button of the list, which shows the state, the notifies and what the shop answered."""
    page.opened("steps", "<b>tea")
    assert 'data-status="open"' in page.card("steps")
    assert "&lt;b&gt;tea" in page.card("steps")
    page.press("/trade/steps/scan", home="1")
    assert 'data-status="WAIT_BUYER_PAY"' in page.card("steps")
    page.shop.answers = ["failure"]
    page.press("/trade/steps/pay")
    assert eventually(lambda: 'data-notify="TRADE_SUCCESS" data-done="true"' in page.card("steps"))
    assert "<q>failure</q>, <q>success</q>" in page.card("steps")
    for amount in ("59", "x", "-1"):
        refused = page.press("/trade/steps/refund", amount=amount)
        assert refused.status_code == 409
        assert 'role="alert"' in refused.text
    page.press("/trade/steps/refund", amount="7.00")
    assert "¥7.00" in page.card("steps")
    page.press("/trade/steps/refund", amount="")
    assert 'data-status="TRADE_CLOSED"' in page.card("steps")
    assert (page.alipay.trade("steps") or {})["refunded"] == "58.00"
    assert eventually(lambda: page.card("steps").count('data-done="true"') == 3)
    page.alipay.faults(notify="drop")
    page.press("/trade/steps/notify")  # a person wants the notify sent, also under this fault
    assert eventually(lambda: page.card("steps").count('data-done="true"') == 4)


def test_a_dropped_notify_is_listed(page: Page) -> None:
    """The list says which notify was not sent, and by which fault."""
    page.opened("dropped")
    page.press("/trade/dropped/faults", notify="drop", times="1")
    assert 'data-on="notify">notify=drop (1 left)' in page.card("dropped")
    page.press("/trade/dropped/pay")
    assert "TRADE_SUCCESS <code>drop</code>: not sent" in page.card("dropped")
    assert "data-on" not in page.card("dropped")


def test_every_fault_can_be_switched(page: Page) -> None:
    """The form has each row of the table, for all trades and for one, before its link is opened, and counts."""
    for path in ("/?lang=en", "/trade/early?lang=zh"):
        form = page.browser.get(path).text
        for fault in FAULTS.values():
            assert f'data-fault="{fault.name}"' in form
            assert f'name="{fault.name}"' in form
    page.press("/faults", notify="drop", notify_delay="2.5")
    page.press(
        "/trade/early/faults", system_error=["alipay.trade.close", "alipay.trade.query"], overtime="true", hang="1"
    )
    page.press("/trade/early/faults", system_error=["alipay.trade.close"], overtime="true", hang="1", times="3")
    assert page.browser.get("/control/faults").json()["for_all"] == {
        "notify": {"value": "drop"},
        "notify_delay": {"value": 2.5},
    }
    own = {"overtime": {"value": True}, "hang": {"value": 1.0}}
    own["system_error"] = {"value": ["alipay.trade.close"], "left": 3}
    assert page.browser.get("/control/faults").json()["by_trade"] == {"early": own}
    shown = page.browser.get("/trade/early?lang=en").text
    assert 'data-on="system_error">system_error=close (3 left)' in shown
    assert '<option value="true" selected>' in shown
    assert re.search(r'value="alipay\.trade\.close" checked', shown)
    assert "/trade/early" in page.browser.get("/").text
    page.press("/trade/early/faults", reset="1", notify="drop")
    page.press("/faults", notify="")
    assert page.browser.get("/control/faults").json()["by_trade"] == {}
    assert page.browser.get("/control/faults").json()["for_all"] == {}


@pytest.mark.parametrize("path", ["/faults", "/trade/wrong/faults"])
@pytest.mark.parametrize(
    ("fields", "there_is"),
    [
        ({"notify": "maybe"}, "notify cannot be &#x27;maybe&#x27;; it can be: send, drop, double, delay, reorder"),
        ({"hang": "nan"}, "hang cannot be &#x27;nan&#x27;; it can be: a number of seconds"),
        ({"notify_amount": "x"}, "it can be: an amount in yuan"),
        ({"overtime": "yes"}, "it can be: true, false"),
        ({"forge": "true", "times": "0"}, "it is how often the fault comes, 1 or more"),
        ({"forge": "true", "times": "x"}, "it is how often the fault comes, 1 or more"),
        ({"system_error": "pay"}, "it can be: a list of query, close, refund, fastpay.refund.query"),
    ],
)
def test_a_wrong_form_says_what_there_is(page: Page, path: str, fields: dict[str, str], there_is: str) -> None:
    """The page comes back with a message, and nothing has changed."""
    refused = page.press(path, **fields)
    assert refused.status_code == 400
    (message,) = re.findall(r'role="alert">([^<]+)', refused.text)
    assert there_is in message
    listed = page.browser.get("/control/faults").json()
    assert (listed["for_all"], listed["by_trade"]) == ({}, {})


def test_forms_of_other_sites_are_refused(page: Page) -> None:
    """A foreign page in the developer's browser could otherwise refund a trade."""
    page.opened("foreign")
    for origin in ("http://evil.example", "null"):
        sent = page.browser.post("/trade/foreign/pay", headers={"Origin": origin})
        assert sent.status_code == 403
    assert page.alipay.trade("foreign") is None
    page.browser.post("/trade/foreign/pay", headers={"Origin": page.alipay.url})
    assert page.alipay.trade("foreign")


def test_what_is_not_there(page: Page) -> None:
    """Numbers that cannot be, links that were not opened, and unknown buttons."""
    assert page.browser.get("/trade/a-b").status_code == 404
    assert page.press("/trade/never/scan").status_code == 404
    page.opened("odd")
    assert page.press("/trade/odd/steal").status_code == 404
    assert page.press("/trade/odd/notify").status_code == 409


def test_the_pages_policy(page: Page) -> None:
    """Nothing inline and nothing of others: every file comes from here."""
    page.opened("policy")
    for path in ("/", "/trade/policy"):
        answer = page.browser.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src)", answer.text)
        for file in re.findall(r'(?:href|src)="(/static/[^"]+)"', answer.text):
            assert page.browser.get(file).status_code == 200


def test_the_code_scans_the_link(page: Page) -> None:
    """The code leads to this link's page and creates the trade. Here, the page adds that no phone can open it."""
    buyer = page.opened("code")
    shown = page.browser.get(buyer.page).text
    address = re.search(r'data-code="([^"]+)"', shown)
    assert address
    assert address[1].startswith(f"{buyer.page}/code")
    assert "<svg" in shown
    assert 'data-phone="no"' in shown
    followed = page.browser.get(address[1])
    assert 'data-state="waiting"' in followed.text
    assert (page.alipay.trade("code") or {})["trade_status"] == "WAIT_BUYER_PAY"


def test_without_segno(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page names what to install, and its button scans."""
    monkeypatch.setattr(qr_code, "segno", None)
    buyer = page.opened("plain")
    shown = page.browser.get(buyer.page).text
    assert "data-no-code" in shown
    assert "segno is not installed" in shown
    assert buyer.scan()


def test_a_phone_needs_an_address_in_the_network() -> None:
    """The code has the address that the program listens on, and none where no phone can reach it."""
    assert in_network("127.0.0.1", 8100) == ""
    assert in_network("localhost", 8100) == ""
    assert in_network("192.0.2.7", 8100) == "http://192.0.2.7:8100"
    assert in_network("2001:db8::7", 8100) == "http://[2001:db8::7]:8100"
    everywhere = "0.0.0.0"  # noqa: S104 - nothing is bound
    assert everywhere not in in_network(everywhere, 8100)
