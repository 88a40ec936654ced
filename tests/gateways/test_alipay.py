"""The Alipay gateway against the simulator, over HTTP: every status, every fault, and the end of a link."""

import itertools
import json
import logging
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.errors import ConfigError, LapseError
from lapse.gateways.alipay import (
    AlipayGateway,
    AlipayRefused,
    AlipaySettings,
    AlipayUnavailable,
    Flaw,
    MessageRefused,
    TradeStatus,
)
from lapse.orders import Attempt, RefundState, Ruling, Verdict
from lapse.testing.alipay import AlipaySimulator, Buyer, new_key_pair
from tests.delivering.slow_server import (
    Script,
    SlowServer,
    dripping_body,
    dripping_handshake,
    dripping_header,
    dripping_informational,
)
from tests.gateways.listening import Listener, eventually

AMOUNT = Decimal("58.00")
NUMBERS = (f"no{number}" for number in itertools.count())
LONG_OVER = -timedelta(minutes=1)


def link_of(gateway: AlipayGateway, number: str, *, ends_in: float = 600, subject: str = "茶杯 {1}") -> str:
    """Return a link that ends in so many seconds."""
    return gateway.page_pay_url(number, AMOUNT, subject, datetime.now(UTC) + timedelta(seconds=ends_in))


def attempt_of(number: str, expires_in: timedelta | None = None) -> Attempt:
    """Return an attempt as a shop names it."""
    return Attempt("order", number, "alipay", expires_in)


def body_of(form: dict[str, str]) -> bytes:
    """Return the form as it is posted, in UTF-8."""
    return urlencode(form).encode()


def paid(gateway: AlipayGateway, number: str) -> Buyer:
    """Pay a new link and return its buyer."""
    buyer = Buyer(link_of(gateway, number))
    assert buyer.scan()
    assert buyer.pay()
    return buyer


# --- the link ---


def test_the_link_ends_before_the_deadline(gateway: AlipayGateway) -> None:
    """Its end is a whole second, in China's time, at least the margin before the deadline and never after it."""
    pay_by = datetime(2026, 3, 1, 20, 0, 5, 999_999, tzinfo=UTC)
    end = gateway.link_ends(pay_by)
    assert end == datetime(2026, 3, 1, 20, 0, 3, tzinfo=UTC)
    placed_at = pay_by - gateway.least_window  # a shorter window may leave no link at all
    assert timedelta(0) <= end - placed_at < timedelta(seconds=1)
    url = urlsplit(gateway.page_pay_url("1_a", AMOUNT, "tea", end + timedelta(microseconds=999_999)))
    query = {name: value for name, (value,) in parse_qs(url.query).items()}
    content = json.loads(query["biz_content"])
    assert content == {
        "out_trade_no": "1_a",
        "total_amount": "58.00",
        "subject": "tea",
        "product_code": "FAST_INSTANT_TRADE_PAY",
        "time_expire": "2026-03-02 04:00:03",
    }
    assert query["method"] == "alipay.trade.page.pay"
    assert query["return_url"] == gateway.settings.return_url


@pytest.mark.parametrize(
    ("number", "amount", "subject"),
    [
        ("", "1", "tea"),
        ("a" * 65, "1", "tea"),
        ("a-b", "1", "tea"),
        ("茶", "1", "tea"),
        ("a", "0", "tea"),
        ("a", "1.001", "tea"),
        ("a", "1", ""),
        ("a", "1", "tea & cup"),
    ],
)
def test_links_that_alipay_would_not_take(gateway: AlipayGateway, number: str, amount: str, subject: str) -> None:
    """A link against Alipay's rules is refused before the buyer is sent there."""
    with pytest.raises(ValueError, match="must be"):
        gateway.page_pay_url(number, Decimal(amount), subject, datetime.now(UTC))


def test_a_link_of_another_key_is_refused(settings: AlipaySettings) -> None:
    """Alipay checks the request's signature and refuses a wrong one by its code."""
    with AlipayGateway(replace(settings, private_key=new_key_pair().private)) as stranger:
        with pytest.raises(LapseError, match=r"isv\.invalid-signature"):
            Buyer(link_of(stranger, next(NUMBERS)))
        with pytest.raises(AlipayRefused, match=r"40002 isv\.invalid-signature"):
            stranger.trade("1")
        assert stranger.close(attempt_of("1", LONG_OVER)).verdict == Verdict.UNKNOWN


# --- query and close, by status ---


def test_an_unscanned_link(gateway: AlipayGateway) -> None:
    """While the link can be paid, no trade decides nothing; CLOSED once the link ended a margin ago."""
    number = next(NUMBERS)
    Buyer(link_of(gateway, number))
    assert gateway.trade(number) is None
    margin = gateway.settings.margin
    fen = timedelta(microseconds=1)
    for expires_in, verdict in [
        (None, Verdict.ABSENT),
        (timedelta(minutes=5), Verdict.ABSENT),
        (timedelta(0), Verdict.ABSENT),
        (fen - margin, Verdict.ABSENT),
        (-margin, Verdict.CLOSED),
        (LONG_OVER, Verdict.CLOSED),
    ]:
        assert gateway.query(attempt_of(number, expires_in)).verdict == verdict, expires_in
        assert gateway.close(attempt_of(number, expires_in)).verdict == verdict, expires_in


def test_an_order_that_is_due_is_never_kept_by_an_unscanned_link(gateway: AlipayGateway) -> None:
    """For every fraction of the deadline's second, at the deadline the link is over by the margin."""
    for microsecond in (0, 1, 499_999, 999_999):
        pay_by = datetime(2026, 1, 1, 12, 0, 0, microsecond, tzinfo=UTC)
        at_the_deadline = gateway.link_ends(pay_by) - pay_by
        assert gateway.close(attempt_of(next(NUMBERS), at_the_deadline)).verdict == Verdict.CLOSED


def test_scanned_and_not_paid_is_closed(gateway: AlipayGateway) -> None:
    """A waiting trade is closed at once, however much time the link has, and cannot be paid afterwards."""
    number = next(NUMBERS)
    buyer = Buyer(link_of(gateway, number))
    buyer.scan()
    trade = gateway.trade(number)
    assert trade is not None
    assert (trade.status, trade.total_amount) == (TradeStatus.WAIT_BUYER_PAY, AMOUNT)
    assert gateway.query(attempt_of(number, LONG_OVER)).verdict == Verdict.OPEN
    assert gateway.close(attempt_of(number, timedelta(minutes=5))).verdict == Verdict.CLOSED
    assert buyer.pay() is None
    assert gateway.close(attempt_of(number)).verdict == Verdict.CLOSED  # again: closed before


def test_paid_is_found(gateway: AlipayGateway) -> None:
    """Closing what is paid finds the money, with the amount and Alipay's number."""
    number = next(NUMBERS)
    paid(gateway, number)
    ruling = gateway.close(attempt_of(number, LONG_OVER))
    assert ruling.verdict == Verdict.PAID
    trade = gateway.trade(number)
    assert trade is not None
    assert trade.status == TradeStatus.TRADE_SUCCESS
    assert (ruling.amount, ruling.provider_reference) == (Decimal("58.00"), trade.trade_no)


def test_a_trade_that_ran_out_is_closed(gateway: AlipayGateway) -> None:
    """Scanned, not paid in time: Alipay has closed it by itself."""
    number = next(NUMBERS)
    buyer = Buyer(link_of(gateway, number, ends_in=2))
    assert buyer.scan()
    assert eventually(lambda: (trade := gateway.trade(number)) is not None and trade.status == TradeStatus.TRADE_CLOSED)
    assert buyer.pay() is None
    assert gateway.close(attempt_of(number)).verdict == Verdict.CLOSED


# --- no answer ---


@pytest.mark.parametrize("method", ["alipay.trade.close", "alipay.trade.query"])
@pytest.mark.parametrize("fault", ["system_error", "unavailable", "hanging"])
def test_no_answer_is_unknown(
    gateway: AlipayGateway,
    alipay: AlipaySimulator,
    caplog: pytest.LogCaptureFixture,
    method: str,
    fault: str,
) -> None:
    """SYSTEM_ERROR, 20000 and silence conclude nothing, even of a paid trade whose link is long over."""
    number = next(NUMBERS)
    paid(gateway, number)
    alipay.faults(**{fault: [method]}, hang=20)
    with AlipayGateway(replace(gateway.settings, timeout=timedelta(seconds=0.5))) as hasty:
        ruling = hasty.close(attempt_of(number, LONG_OVER))
    assert ruling.verdict == Verdict.UNKNOWN
    assert f"attempt {number} could not be closed: " in caplog.text
    alipay.faults(**{fault: []})
    assert gateway.close(attempt_of(number, LONG_OVER)).verdict == Verdict.PAID


def test_a_forged_answer_is_no_answer(gateway: AlipayGateway, alipay: AlipaySimulator) -> None:
    """An answer that Alipay's key has not signed concludes nothing."""
    alipay.faults(forge=True)
    with pytest.raises(AlipayUnavailable, match="not signed"):
        gateway.trade(next(NUMBERS))
    assert gateway.close(attempt_of(next(NUMBERS), LONG_OVER)).verdict == Verdict.UNKNOWN


def test_an_answer_to_another_call_is_no_answer(
    gateway: AlipayGateway, alipay: AlipaySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is signed without its call, so one from before could be sent again: the number must be this call's."""
    for number in ("old", "new"):
        assert Buyer(link_of(gateway, number)).scan()
    sent = gateway._client._send("alipay.trade.close", {"out_trade_no": "old"})
    monkeypatch.setattr(gateway._client, "_send", lambda *_: sent)
    assert gateway.close(attempt_of("old")).verdict == Verdict.CLOSED
    assert gateway.close(attempt_of("new")).verdict == Verdict.UNKNOWN
    trade = alipay.trade("new")
    assert trade
    assert trade["trade_status"] == "WAIT_BUYER_PAY"


def test_no_server(settings: AlipaySettings) -> None:
    """A refused connection and a server that is not Alipay's are no answer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/", settings.gateway_url.replace("gateway.do", "nowhere")):
        with AlipayGateway(replace(settings, gateway_url=url)) as gateway:
            assert gateway.close(attempt_of("1", LONG_OVER)).verdict == Verdict.UNKNOWN


@pytest.mark.parametrize("script", [dripping_header, dripping_informational, dripping_body, dripping_handshake])
def test_a_call_ends_within_its_timeout(settings: AlipaySettings, script: Script) -> None:
    """A server that sent its header byte by byte held a call with a timeout of 0.5 s for 17 s."""
    with SlowServer(otherwise=script) as server:
        scheme = "https" if script is dripping_handshake else "http"
        url = f"{scheme}://127.0.0.1:{server.port}/"
        own = replace(settings, gateway_url=url, timeout=timedelta(seconds=0.5))
        with AlipayGateway(own) as gateway:
            attempt = attempt_of("1", LONG_OVER)
            for call in (gateway.query, gateway.close, gateway.refund_status, partial(gateway.refund, amount=AMOUNT)):
                started = SYSTEM_CLOCK.monotonic()
                answer = call(attempt)
                assert SYSTEM_CLOCK.monotonic() - started < 5
                unknown = answer.verdict if isinstance(answer, Ruling) else answer.state
                assert unknown in (Verdict.UNKNOWN, RefundState.UNKNOWN)


def test_many_threads_share_a_gateway(gateway: AlipayGateway) -> None:
    """Each call has a connection for itself, and the next call uses it again."""
    number = next(NUMBERS)
    paid(gateway, number)
    with ThreadPoolExecutor(8) as pool:
        rulings = list(pool.map(gateway.query, [attempt_of(number)] * 40))
    assert {ruling.verdict for ruling in rulings} == {Verdict.PAID}
    (free,) = gateway._client._connections._by_process.values()
    assert 1 <= len(free.connections) <= 8


# --- logs ---


def test_no_signed_parameter_reaches_a_log(gateway: AlipayGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Every logger at DEBUG, also that of httpcore: neither a signature nor the signed content is logged."""
    number = next(NUMBERS)
    paid(gateway, number)
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    for name in ("httpcore", "lapse"):
        caplog.set_level(logging.DEBUG, name)
    gateway.trade(number)
    gateway.close(attempt_of(number))
    gateway.refund(attempt_of(number), AMOUNT)
    gateway.refund_status(attempt_of(number))
    logged = "\n".join(f"{record.name} {record.getMessage()}" for record in caplog.records)
    assert "httpcore.http11 send_request_headers.started" in logged  # so the logger in question did log
    for secret in ("sign=", "biz_content", "app_id"):
        assert secret not in logged


# --- signatures ---


def test_a_notify_is_read(gateway: AlipayGateway, shop: Listener) -> None:
    """A notify of the simulator is verified, with text that has to be quoted, and says what was paid."""
    number = next(NUMBERS)
    paid(gateway, number)
    (form,) = shop.wait_for(1)
    notification = gateway.read_notify(body_of(form))
    assert (notification.trade.out_trade_no, notification.trade.total_amount) == (number, AMOUNT)
    assert notification.trade.status.paid
    assert notification.raw["subject"] == "茶杯 {1}"


def test_notifies_that_must_not_be_believed(
    gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener, settings: AlipaySettings
) -> None:
    """Any change breaks the signature; a signed one for another app or seller, or without sense, is refused too."""
    number = next(NUMBERS)
    paid(gateway, number)
    (form,) = shop.wait_for(1)
    tampered = [
        form | {"total_amount": "0.01"},
        form | {"new": "x"},
        form | {"sign": "garbage!"},
        form | {"sign": ""},
        form | {"sign_type": "RSA"},
        {name: value for name, value in form.items() if name != "sign"},
        {name: value for name, value in form.items() if name != "seller_id"},
        {},
    ]
    for one in tampered:
        with pytest.raises(MessageRefused) as refused:
            gateway.read_notify(body_of(one))
        assert refused.value.flaw == Flaw.SIGNATURE
    for changes, flaw in [
        ({"app_id": "1"}, Flaw.APP),
        ({"seller_id": "1"}, Flaw.SELLER),
        ({"trade_status": "TRADE_ODD"}, Flaw.MALFORMED),
        ({"total_amount": "NaN"}, Flaw.MALFORMED),
        ({"total_amount": "-1"}, Flaw.MALFORMED),
    ]:
        before = len(shop.received)
        alipay.notify(number, **changes)
        with pytest.raises(MessageRefused) as refused:
            gateway.read_notify(body_of(shop.wait_for(before + 1)[-1]))
        assert refused.value.flaw == flaw
    with AlipayGateway(replace(settings, app_id="2")) as stranger, pytest.raises(MessageRefused):
        stranger.read_notify(body_of(form))


def test_the_return_is_signed(gateway: AlipayGateway) -> None:
    """The buyer comes back to the shop's own address with signed parameters, which a change breaks."""
    number = next(NUMBERS)
    buyer = Buyer(link_of(gateway, number))
    buyer.scan()
    back = buyer.pay()
    assert back
    assert back.startswith("http://shop.example/back/?from=alipay&")
    query = urlsplit(back).query
    assert gateway.read_return(query.encode()).out_trade_no == number
    with pytest.raises(MessageRefused):
        gateway.read_return(query.replace(number, "another").encode())


# --- the settings ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("app_id", ""),
        ("seller_id", "me"),
        ("private_key", "x"),
        ("alipay_public_key", "x"),
        ("gateway_url", "gateway.do"),
        ("notify_url", "/notify/"),
        ("return_url", "ftp://shop.example/"),
        ("timeout", timedelta(0)),
        ("margin", timedelta(seconds=-1)),
    ],
)
def test_wrong_settings_are_named(settings: AlipaySettings, name: str, value: object) -> None:
    """A wrong setting is an error that names the setting, and keys are never shown."""
    with pytest.raises(ConfigError, match=name):
        replace(settings, **{name: value})  # type: ignore[arg-type]  # the wrong value is the test
    assert settings.private_key not in repr(settings)


@pytest.mark.parametrize("module", ["httpx", "cryptography"])
@pytest.mark.parametrize(
    ("package", "extra"),
    [("lapse.gateways.alipay", ".[alipay]"), ("lapse.testing.alipay", "./lapse-testing[simulator]")],
)
def test_a_missing_library_says_how_to_get_it(module: str, package: str, extra: str) -> None:
    """Without an optional library, the import names the extra."""
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from lapse.engine.errors import MissingLibrary\n"
        f"try:\n    import {package}\nexcept MissingLibrary as error:\n    print(error)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"pip install '{extra}'" in output
