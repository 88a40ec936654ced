"""The Alipay simulator by itself: what it refuses, its cashier's page, its notifies, and the program."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from lapse.engine.errors import LapseError
from lapse.gateways.alipay.keys import read_private_key
from lapse.gateways.alipay.signing import sign, signed_text
from lapse.testing.alipay import FAULTS, AlipaySimulator, Buyer
from lapse.testing.alipay.__main__ import main
from lapse.testing.ports import free_port
from tests.alipay_keys import APP
from tests.gateways.listening import Listener, eventually

CHINA = timedelta(hours=8)


@pytest.fixture(scope="module")
def alipay() -> Iterator[AlipaySimulator]:
    """Start one simulator for all tests here; each uses numbers of its own."""
    with AlipaySimulator(APP.public) as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults(alipay: AlipaySimulator) -> None:
    """Begin without faults."""
    alipay.reset()


@pytest.fixture
def shop() -> Iterator[Listener]:
    """Listen for notifies."""
    with Listener() as listener:
        yield listener


def call(alipay: AlipaySimulator, call_of: str, content: Any, **changes: str) -> str:
    """Return the address of a signed call."""
    parameters = {
        "app_id": alipay.app_id,
        "method": call_of,
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": f"{datetime.now(UTC) + CHINA:%Y-%m-%d %H:%M:%S}",
        "version": "1.0",
        "biz_content": content if isinstance(content, str) else json.dumps(content),
        **changes,
    }
    parameters = {name: value for name, value in parameters.items() if value}
    parameters = {"sign": sign(read_private_key(APP.private, "key"), signed_text(parameters))} | parameters
    return f"{alipay.gateway_url}?{urlencode(parameters)}"


def link(alipay: AlipaySimulator, number: str, *, ends_in: float = 600, notify_url: str = "", **changes: Any) -> str:
    """Return a page-pay link."""
    end = datetime.now(UTC) + CHINA + timedelta(seconds=ends_in)
    content = {
        "out_trade_no": number,
        "total_amount": "12.50",
        "subject": "tea",
        "product_code": "FAST_INSTANT_TRADE_PAY",
        "time_expire": f"{end:%Y-%m-%d %H:%M:%S}",
        **changes,
    }
    content = {name: value for name, value in content.items() if value is not None}
    return call(alipay, "alipay.trade.page.pay", content, notify_url=notify_url, return_url="http://shop.example/back/")


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "code", "sub_code"),
    [
        ({"method": ""}, "40001", "isv.missing-method"),
        ({"method": "alipay.trade.pay"}, "40002", "isv.invalid-method"),
        ({"app_id": ""}, "40001", "isv.missing-app-id"),
        ({"app_id": "1"}, "40002", "isv.invalid-app-id"),
        ({"sign_type": ""}, "40001", "isv.missing-signature-type"),
        ({"sign_type": "RSA"}, "40002", "isv.invalid-signature-type"),
        ({"sign": "garbage!"}, "40002", "isv.invalid-signature"),
        ({"timestamp": ""}, "40001", "isv.missing-timestamp"),
        ({"timestamp": "now"}, "40002", "isv.invalid-timestamp"),
        ({"version": ""}, "40001", "isv.missing-version"),
        ({"charset": "big5"}, "40002", "isv.invalid-charset"),
        ({"biz_content": "{"}, "40002", "isv.invalid-parameter"),
        ({"biz_content": "[]"}, "40002", "isv.invalid-parameter"),
        ({"biz_content": "{}"}, "40004", "ACQ.INVALID_PARAMETER"),
    ],
)
def test_calls_are_refused_by_alipays_codes(
    alipay: AlipaySimulator, changes: dict[str, str], code: str, sub_code: str
) -> None:
    """Every public parameter is checked, in Alipay's order, and the answer is signed JSON all the same."""
    answer = httpx.get(call(alipay, "alipay.trade.query", {"out_trade_no": "1"}, **changes)).json()
    assert answer.pop("sign")
    (body,) = answer.values()
    assert (body["code"], body["sub_code"]) == (code, sub_code)


@pytest.mark.parametrize(
    "changes",
    [
        {"product_code": "QUICK_WAP_WAY"},
        {"time_expire": None},
        {"timeout_express": "30m"},
        {"time_expire": "soon"},
        {"total_amount": "0.00"},
        {"total_amount": "1.001"},
        {"subject": "tea & cup"},
        {"subject": ""},
        {"out_trade_no": "a-b"},
    ],
)
def test_links_that_are_refused(alipay: AlipaySimulator, changes: dict[str, Any]) -> None:
    """The page shows Alipay's code, and no cashier opens."""
    with pytest.raises(LapseError, match=r"ACQ\.INVALID_PARAMETER"):
        Buyer(link(alipay, "nonsense", **changes))


def test_one_number_is_one_payment(alipay: AlipaySimulator) -> None:
    """The same link opened again is the same cashier; the same number for another amount is refused."""
    first = link(alipay, "one")
    assert Buyer(first).page == Buyer(first).page == Buyer(link(alipay, "one")).page
    with pytest.raises(LapseError, match="CONTEXT_INCONSISTENT"):
        Buyer(link(alipay, "one", total_amount="1.00"))


# --- the cashier ---


def test_it_pays_only_by_its_button(alipay: AlipaySimulator) -> None:
    """Opening makes no trade, scanning makes one that waits, leaving changes nothing, and paying pays once."""
    buyer = Buyer(link(alipay, "button"))
    assert alipay.trade("button") is None
    assert buyer.pay() is None
    buyer.leave()
    assert alipay.trade("button") is None
    assert buyer.scan()
    buyer.leave()
    assert (alipay.trade("button") or {})["trade_status"] == "WAIT_BUYER_PAY"
    back = buyer.pay()
    assert back
    assert back.startswith("http://shop.example/back/?")
    assert (alipay.trade("button") or {})["trade_status"] == "TRADE_SUCCESS"
    assert buyer.pay() is None


def test_after_its_time_it_takes_nothing(alipay: AlipaySimulator) -> None:
    """A link that ended cannot be scanned, and what was scanned in time cannot be paid."""
    late = Buyer(link(alipay, "late", ends_in=-1))
    assert not late.scan()
    assert alipay.trade("late") is None
    waiting = Buyer(link(alipay, "waiting", ends_in=2))
    assert waiting.scan()
    assert eventually(lambda: (alipay.trade("waiting") or {})["trade_status"] == "TRADE_CLOSED")
    assert waiting.pay() is None


def test_the_page_in_both_languages(alipay: AlipaySimulator) -> None:
    """It names itself a simulator, in the language of `?lang=` or of the browser; its buttons have attributes."""
    page = Buyer(link(alipay, "page", subject="<b>tea")).page
    english = httpx.get(page, headers={"Accept-Language": "de,en;q=0.5"})
    chinese = httpx.get(page, headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert "Simulator. No real money moves here." in english.text
    assert '<html lang="zh-CN">' in chinese.text
    assert "这是模拟器" in chinese.text
    assert "Simulator. No real money" in httpx.get(f"{page}?lang=en", headers={"Accept-Language": "zh"}).text
    for button in ("data-scan", "data-leave"):
        assert button in english.text
        assert button in chinese.text
    assert "&lt;b&gt;tea" in english.text
    assert "<b>tea" not in english.text
    httpx.post(f"{page}/scan")
    assert "data-pay" in httpx.get(page).text


def test_the_pages_policy(alipay: AlipaySimulator) -> None:
    """Nothing inline, files of its own only, and forms lead nowhere but here and back to the shop."""
    answer = httpx.get(Buyer(link(alipay, "policy")).page)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://shop.example" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src)", answer.text)
    for file in re.findall(r'(?:href|src)="(/static/[^"]+)"', answer.text):
        assert httpx.get(f"{alipay.url}{file}").status_code == 200


def test_unknown_addresses(alipay: AlipaySimulator) -> None:
    """A cashier that no buyer opened and an unknown button are a 404."""
    assert httpx.get(f"{alipay.url}/cashier/unknown").status_code == 404
    assert httpx.post(f"{Buyer(link(alipay, 'odd')).page}/steal").status_code == 404
    assert httpx.get(alipay.url).status_code == 200


# --- refunds ---


def test_refunds_in_the_console(alipay: AlipaySimulator, shop: Listener) -> None:
    """A part, then all that is left; each is notified with the total, and too much is refused."""
    paid(alipay, shop, "console")
    shop.wait_for(1)
    with pytest.raises(LapseError, match="REFUND_AMT_NOT_EQUAL_TOTAL"):
        alipay.refund("console", Decimal("12.51"))
    alipay.refund("console", Decimal("2.50"))
    part = shop.wait_for(2)[1]
    assert (part["trade_status"], part["refund_fee"]) == ("TRADE_SUCCESS", "2.50")
    assert re.fullmatch(r"[-0-9]{10} [0-9:]{8}\.[0-9]{3}", part["gmt_refund"])
    assert "gmt_close" not in part
    alipay.refund("console")
    full = shop.wait_for(3)[2]
    assert (full["trade_status"], full["refund_fee"]) == ("TRADE_CLOSED", "12.50")
    assert full["gmt_payment"]
    assert full["gmt_close"]
    assert full["out_biz_no"] != part["out_biz_no"]
    assert (alipay.trade("console") or {})["refunded"] == "12.50"
    with pytest.raises(LapseError, match="TRADE_STATUS_ERROR"):
        alipay.refund("console")
    with pytest.raises(LapseError, match="TRADE_NOT_EXIST"):
        alipay.refund("unknown")


def test_a_closed_trade_is_notified_as_alipay_does(alipay: AlipaySimulator, shop: Listener) -> None:
    """Closed unpaid, its notify has an amount refunded of 0.00 and no time of a payment."""
    Buyer(link(alipay, "closed", notify_url=shop.url)).scan()
    httpx.get(call(alipay, "alipay.trade.close", {"out_trade_no": "closed"}))
    alipay.notify("closed")
    (form,) = shop.wait_for(1)
    assert (form["trade_status"], form["refund_fee"]) == ("TRADE_CLOSED", "0.00")
    assert form["gmt_close"]
    assert "gmt_payment" not in form


def test_a_refund_without_a_number_has_the_trades(alipay: AlipaySimulator, shop: Listener) -> None:
    """A refund by another program, which sends no number, is found under the number of the trade."""
    paid(alipay, shop, "plain")
    refund = {"out_trade_no": "plain", "refund_amount": "1.00"}
    for moved in ("Y", "N"):
        answer = httpx.get(call(alipay, "alipay.trade.refund", refund)).json()["alipay_trade_refund_response"]
        assert answer["fund_change"] == moved
    query = {"out_trade_no": "plain", "out_request_no": "plain"}
    found = httpx.get(call(alipay, "alipay.trade.fastpay.refund.query", query)).json()
    assert found["alipay_trade_fastpay_refund_query_response"]["refund_amount"] == "1.00"


# --- notifies ---


def paid(alipay: AlipaySimulator, shop: Listener, number: str) -> Callable[[], dict[str, Any]]:
    """Pay, and return a function that reads the first notify."""
    buyer = Buyer(link(alipay, number, notify_url=shop.url))
    buyer.scan()
    buyer.pay()
    return lambda: (alipay.trade(number) or {})["notifies"][0]


def test_it_notifies_until_the_shop_answers_success(alipay: AlipaySimulator, shop: Listener) -> None:
    """It stops only at exactly `success`, and sends the same message each time."""
    shop.answers = ["failure", "Success", "success ", '"success"', "<p>success</p>", ""]
    notify = paid(alipay, shop, "until")
    assert eventually(lambda: notify()["done"])
    assert notify()["answers"] == ["failure", "Success", "success ", '"success"', "<p>success</p>", "", "success"]
    assert len({tuple(form.items()) for form in shop.received}) == 1


def test_it_gives_up_after_eight_times(alipay: AlipaySimulator, shop: Listener) -> None:
    """As Alipay does, after 25 hours of its own time."""
    shop.answers = ["failure"] * 20
    notify = paid(alipay, shop, "never")
    assert eventually(lambda: len(notify()["answers"]) == 8, within=120)
    assert not notify()["done"]
    assert len(shop.received) == 8


# --- switching faults ---


def on(alipay: AlipaySimulator) -> dict[str, Any]:
    """Return which faults are on."""
    listed: dict[str, Any] = httpx.get(f"{alipay.url}/control/faults").json()
    assert listed.pop("known").keys() == FAULTS.keys()
    return listed


def test_a_fault_per_trade_wins(alipay: AlipaySimulator, shop: Listener) -> None:
    """Notifies are lost, but those of one trade are sent, until its own fault is taken away."""
    alipay.faults(notify="drop")
    alipay.faults("wins", notify="send")
    paid(alipay, shop, "wins")
    assert shop.wait_for(1)[0]["out_trade_no"] == "wins"
    alipay.faults("wins", notify=None)
    alipay.refund("wins")
    buyer = Buyer(link(alipay, "loses", notify_url=shop.url))
    assert buyer.scan()
    assert buyer.pay()
    assert (alipay.trade("loses") or {})["notifies"] == []
    assert len((alipay.trade("wins") or {})["notifies"]) == 1


def test_counted_faults(alipay: AlipaySimulator) -> None:
    """The fault of a trade comes as often as it should, then the one for all counts; other calls use nothing up."""
    Buyer(link(alipay, "counted")).scan()
    alipay.faults("counted", system_error=["query"], times=2)
    alipay.faults(unavailable="alipay.trade.query", times=1)
    codes = []
    for method in ("close", "query", "query", "query", "query"):
        answer = httpx.get(call(alipay, f"alipay.trade.{method}", {"out_trade_no": "counted"})).json()
        codes.append(answer[f"alipay_trade_{method}_response"]["code"])
    # An answer of SYSTEM_ERROR is final for its call: the fault for all is used up by the call after it.
    assert codes == ["10000", "40004", "40004", "20000", "10000"]
    assert on(alipay) == {"for_all": {}, "by_trade": {}}


def test_what_is_on_and_its_end(alipay: AlipaySimulator) -> None:
    """The control lists the switches and the uses left. One trade or everything is reset, null takes one away."""
    alipay.faults(hang=7, notify_amount="0.01")
    alipay.faults("known", hanging=["close", "fastpay.refund.query"], hang=3, times=2)
    calls = ["alipay.trade.close", "alipay.trade.fastpay.refund.query"]
    for_all = {"notify_amount": {"value": "0.01"}, "hang": {"value": 7.0}}
    own = {"hanging": {"value": calls, "left": 2}, "hang": {"value": 3.0}}
    assert on(alipay) == {"for_all": for_all, "by_trade": {"known": own}}
    alipay.reset("known")
    assert on(alipay) == {"for_all": for_all, "by_trade": {}}
    alipay.faults(hang=None)
    assert on(alipay)["for_all"].keys() == {"notify_amount"}
    alipay.reset()
    assert on(alipay) == {"for_all": {}, "by_trade": {}}


def test_each_fault_takes_its_default(alipay: AlipaySimulator) -> None:
    """Each default of the table is a value of its kind, and switching it on is like no fault."""
    defaults = {name: fault.default for name, fault in FAULTS.items() if fault.default is not None}
    alipay.faults(**defaults)
    assert {name: one["value"] for name, one in on(alipay)["for_all"].items()} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()
    }


@pytest.mark.parametrize(
    ("name", "value", "there_is"),
    [
        ("colour", "red", "notify, notify_delay, notify_amount"),
        ("notify", "maybe", "send, drop, double, delay, reorder"),
        ("notify_delay", -1, "a number of seconds"),
        ("notify_delay", float("inf"), "a number of seconds"),
        ("notify_amount", "x", "an amount in yuan"),
        ("notify_amount", -1, "an amount in yuan"),
        ("notify_seller", 7, "a text of up to 64 characters"),
        ("hang", "x", "a number of seconds"),
        ("hang", True, "a number of seconds"),
        ("answers", "odd", "right, empty, garbage, half, endless"),
        ("hanging", 7, "query, close, refund, fastpay.refund.query"),
        ("hanging", ["page.pay"], "query, close, refund, fastpay.refund.query"),
        ("overtime", "yes", "true, false"),
        ("charset", "klingon", "a charset in which Python writes Chinese"),
        ("charset", "ascii", "a charset in which Python writes Chinese"),
        ("charset", "base64", "a charset in which Python writes Chinese"),
    ],
)
def test_wrong_faults_change_nothing(alipay: AlipaySimulator, name: str, value: Any, there_is: str) -> None:
    """An unknown fault or value is refused with a list of what there is, and the right one beside it is not set."""
    content = json.dumps({"forge": True, name: value})
    for path in ("/control/faults", "/control/faults/n1"):
        refused = httpx.put(f"{alipay.url}{path}", content=content, headers={"Content-Type": "application/json"})
        assert refused.status_code == 400
        assert there_is in refused.text
        assert name in refused.text
    assert on(alipay) == {"for_all": {}, "by_trade": {}}


@pytest.mark.parametrize("times", ["0", "-1", "x", "1.5", ""])
def test_wrong_counts_change_nothing(alipay: AlipaySimulator, times: str) -> None:
    """A fault comes a whole number of times, and one that has no uses is not counted."""
    for body, wrong in (({"forge": True}, times), ({"overtime": True}, "2")):
        refused = httpx.put(f"{alipay.url}/control/faults", params={"times": wrong}, json=body)
        assert refused.status_code == 400
    assert "overtime cannot be counted; these can: notify, notify_amount" in refused.text
    assert on(alipay) == {"for_all": {}, "by_trade": {}}


def test_wrong_requests_to_the_control(alipay: AlipaySimulator) -> None:
    """Unknown trades and numbers that cannot be are refused; so is every request that a foreign web page could send."""
    with pytest.raises(LapseError, match="no such trade"):
        alipay.notify("unknown")
    with pytest.raises(LapseError, match="64 letters"):
        alipay.faults("a-b", forge=True)
    with pytest.raises(LapseError, match="not an amount"):
        alipay.refund("unknown", Decimal("NaN"))
    assert httpx.post(f"{alipay.url}/control/notify", content="{}").status_code == 415
    for body in ("[]", "{"):
        sent = httpx.put(f"{alipay.url}/control/faults", content=body, headers={"Content-Type": "application/json"})
        assert sent.status_code == 400


# --- the program ---


def test_the_program(tmp_path: Path) -> None:
    """It serves on its port with the keys of two files, and stores the public half of its own."""
    (tmp_path / "app.pem").write_text(APP.public)
    port = free_port()
    command = [sys.executable, "-m", "lapse.testing.alipay", f"--port={port}", f"--public-key={tmp_path / 'app.pem'}"]
    process = subprocess.Popen([*command, f"--write-public-key={tmp_path / 'alipay.pem'}"])

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/").is_success
        except httpx.HTTPError:
            return False

    try:
        assert eventually(answers, within=60)
        assert "PUBLIC KEY" in (tmp_path / "alipay.pem").read_text()
    finally:
        process.terminate()
        process.wait(30)


def test_the_programs_help_teaches(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It names each fault, each address of the control, and where the page is."""
    monkeypatch.setattr(sys, "argv", ["alipay", "--help"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    for taught in (*FAULTS, "http://127.0.0.1:8100/", "PUT    /control/faults/NUMBER", "?times=2"):
        assert taught in shown


def test_the_program_with_a_key_that_is_none(tmp_path: Path) -> None:
    """It reports the wrong key in one line and exits with 2."""
    (tmp_path / "app.pem").write_text("no key")
    ended = subprocess.run(
        [sys.executable, "-m", "lapse.testing.alipay", f"--public-key={tmp_path / 'app.pem'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "app_public_key must be an RSA public key, but is a text that is not base64" in ended.stderr
    assert "Traceback" not in ended.stderr
