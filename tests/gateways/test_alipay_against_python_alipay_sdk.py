"""Another library of Alipay, python-alipay-sdk, judges our gateway and our simulator, in both directions."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from alipay import AliPay, DCAliPay
from alipay.exceptions import AliPayException

from lapse.gateways.alipay import AlipayGateway, AlipaySettings
from lapse.gateways.alipay.certificates import Certificates
from lapse.gateways.alipay.refunds import key_of
from lapse.orders import Attempt, RefundState, Verdict
from lapse.testing.alipay import AlipaySimulator, Authority, Buyer, KeyPair, new_key_pair
from tests.gateways.listening import Listener

# The other library calls what pyOpenSSL calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:X509.* is deprecated:DeprecationWarning")
CHINA = timedelta(hours=8)
AMOUNT = Decimal("58.00")


@pytest.fixture(params=["keys", "certificates"])
def alipay(
    request: pytest.FixtureRequest, app_keys: KeyPair, alipays_keys: KeyPair, authority: Authority
) -> Iterator[AlipaySimulator]:
    """Start a simulator in each of the two modes."""
    chosen = authority if request.param == "certificates" else None
    with AlipaySimulator(app_keys.public, private_key=alipays_keys.private, authority=chosen) as running:
        yield running


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, alipay: AlipaySimulator, app_keys: KeyPair, shop: Listener
) -> AlipaySettings:
    """Return the settings of a shop in the simulator's mode."""
    certified = request.node.callspec.params["alipay"] == "certificates"
    return AlipaySettings(
        app_id=alipay.app_id,
        seller_id=alipay.seller_id,
        private_key=app_keys.private,
        alipay_public_key="" if certified else alipay.public_key,
        **(alipay.certificates if certified else {}),
        gateway_url=alipay.gateway_url,
        notify_url=shop.url,
        return_url="http://shop.example/back/",
    )


@pytest.fixture
def other(settings: AlipaySettings, monkeypatch: pytest.MonkeyPatch) -> AliPay:
    """Return the other library with the same settings."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    common = {"appid": settings.app_id, "app_notify_url": settings.notify_url}
    if settings.alipay_public_key:
        keys = {"app_private_key_string": settings.private_key, "alipay_public_key_string": settings.alipay_public_key}
        library = AliPay(**common, **keys)
    else:
        library = DCAliPay(
            **common,
            app_private_key_string=settings.private_key,
            app_public_key_cert_string=settings.app_certificate,
            alipay_public_key_cert_string=settings.alipay_certificate,
            alipay_root_cert_string=settings.root_certificates,
        )
    library._gateway = settings.gateway_url
    return library


def link_of(library: AliPay, settings: AlipaySettings, number: str) -> str:
    """Return the other library's payment link. Its own clock is this machine's, so it must name China's time."""
    end = datetime.now(UTC) + CHINA + timedelta(minutes=10)
    query = library.api_alipay_trade_page_pay(
        subject="茶杯 {1}",
        out_trade_no=number,
        total_amount="58.00",
        return_url=settings.return_url,
        time_expire=f"{end:%Y-%m-%d %H:%M:%S}",
    )
    return f"{settings.gateway_url}?{query}"


def form_of(body: bytes) -> dict[str, str]:
    """Return a notify as the other library wants it."""
    form = dict(parse_qsl(body.decode()))
    form.pop("alipay_cert_sn", None)
    return form


def test_our_simulator_takes_its_calls_and_it_believes_our_answers(
    other: AliPay, settings: AlipaySettings, shop: Listener
) -> None:
    """Its link is paid, its query is answered, and it verifies our answer and our notify."""
    buyer = Buyer(link_of(other, settings, "o1"))
    assert buyer.scan()
    back = buyer.pay()
    assert back
    answer = other.api_alipay_trade_query(out_trade_no="o1")
    assert (answer["code"], answer["trade_status"], answer["subject"]) == ("10000", "TRADE_SUCCESS", "茶杯 {1}")
    shop.wait_for(1)
    for signed in (form_of(shop.bodies[0][0]), form_of(urlsplit(back).query.encode())):
        signature = signed.pop("sign")
        assert other.verify(dict(signed), signature)
        assert not other.verify(dict(signed) | {"out_trade_no": "o2"}, signature)


def paid(other: AliPay, settings: AlipaySettings, number: str) -> Buyer:
    """Pay the other library's link and return its buyer."""
    buyer = Buyer(link_of(other, settings, number))
    assert buyer.scan()
    assert buyer.pay()
    return buyer


def test_a_whole_shop_on_the_other_library(other: AliPay, settings: AlipaySettings, shop: Listener) -> None:
    """Each of its calls is answered by our simulator as it understands, and it verifies each answer and each notify."""
    waiting = Buyer(link_of(other, settings, "w1"))
    assert waiting.scan()
    assert other.api_alipay_trade_query(out_trade_no="w1")["trade_status"] == "WAIT_BUYER_PAY"
    assert other.api_alipay_trade_close(out_trade_no="w1")["code"] == "10000"
    assert waiting.pay() is None
    assert other.api_alipay_trade_close(out_trade_no="w1")["sub_code"] == "ACQ.TRADE_STATUS_ERROR"
    closed = other.api_alipay_trade_query(out_trade_no="w1")
    assert closed["trade_status"] == "TRADE_CLOSED"
    assert "send_pay_date" not in closed
    paid(other, settings, "w2")
    for change in ("Y", "N"):
        refund = other.api_alipay_trade_refund("8.00", out_trade_no="w2", out_request_no="r1")
        assert (refund["code"], refund["fund_change"], refund["refund_fee"]) == ("10000", change, "8.00")
    refused = other.api_alipay_trade_refund("9.00", out_trade_no="w2", out_request_no="r1")
    assert refused["sub_code"] == "ACQ.DISCORDANT_REPEAT_REQUEST"
    found = other.api_alipay_trade_fastpay_refund_query("r1", out_trade_no="w2")
    assert (found["refund_status"], found["refund_amount"], found["total_amount"]) == (
        "REFUND_SUCCESS",
        "8.00",
        "58.00",
    )
    assert "refund_status" not in other.api_alipay_trade_fastpay_refund_query("r2", out_trade_no="w2")
    assert other.api_alipay_trade_refund("50.00", out_trade_no="w2", out_request_no="r2")["refund_fee"] == "58.00"
    back = other.api_alipay_trade_query(out_trade_no="w2")
    assert back["trade_status"] == "TRADE_CLOSED"
    assert back["send_pay_date"]
    shop.wait_for(3)
    totals = set()
    for body, _ in shop.bodies:
        form = form_of(body)
        signature = form.pop("sign")
        assert other.verify(dict(form), signature)
        assert not other.verify(dict(form) | {"refund_fee": "0.01"}, signature)
        totals.add((form["trade_status"], form.get("refund_fee")))
    assert totals == {("TRADE_SUCCESS", None), ("TRADE_SUCCESS", "8.00"), ("TRADE_CLOSED", "58.00")}


def test_both_libraries_see_one_refund(gateway: AlipayGateway, other: AliPay, settings: AlipaySettings) -> None:
    """Whichever of the two refunds an attempt, the other one finds the refund by its key and moves no money again."""
    ours, theirs = (Attempt("order", number, "alipay") for number in ("b1", "b2"))
    for attempt in (ours, theirs):
        paid(other, settings, attempt.reference)
    assert gateway.refund(ours, AMOUNT).state == RefundState.DONE
    by_number = {"out_trade_no": ours.reference, "out_request_no": key_of(ours)}
    assert other.api_alipay_trade_fastpay_refund_query(**by_number)["refund_amount"] == "58.00"
    assert other.api_alipay_trade_refund("58.00", **by_number)["fund_change"] == "N"
    assert gateway.refund_status(theirs).state == RefundState.ABSENT
    other.api_alipay_trade_refund("58.00", out_trade_no=theirs.reference, out_request_no=key_of(theirs))
    assert gateway.refund_status(theirs) == gateway.refund(theirs, AMOUNT)
    assert gateway.refund(theirs, AMOUNT).state == RefundState.DONE
    assert {gateway.query(attempt).verdict for attempt in (ours, theirs)} == {Verdict.REFUNDED}


def test_it_verifies_each_of_our_calls(
    gateway: AlipayGateway, app_keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other library verifies what our gateway posts: query, close, refund, and the query of a refund."""
    sent: list[dict[str, str]] = []
    signed = gateway._client._signed

    def recorded(*arguments: Any) -> dict[str, str]:
        sent.append(signed(*arguments))
        return sent[-1]

    monkeypatch.setattr(gateway._client, "_signed", recorded)
    attempt = Attempt("order", "v1", "alipay")
    for call in (gateway.query, gateway.close, gateway.refund_status):
        call(attempt)
    gateway.refund(attempt, AMOUNT)
    assert {one["method"].removeprefix("alipay.trade.") for one in sent} == {
        "query",
        "close",
        "refund",
        "fastpay.refund.query",
    }
    for parameters in sent:
        signature = parameters.pop("sign")
        text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        assert judge_of(app_keys)._verify(text, signature)
        assert not judge_of(app_keys)._verify(text.replace("v1", "v2"), signature)


def judge_of(app_keys: KeyPair) -> AliPay:
    """Return the other library, which takes the app's signatures for Alipay's."""
    return AliPay(
        appid="1",
        app_private_key_string=app_keys.private,
        alipay_public_key_string=app_keys.public,
        app_notify_url=None,
    )


def test_it_verifies_what_our_gateway_signs(gateway: AlipayGateway, app_keys: KeyPair) -> None:
    """The signature of our link is one of the app's key, by the other library's reckoning too."""
    link = gateway.page_pay_url("o3", AMOUNT, "茶杯", datetime.now(UTC) + timedelta(minutes=10))
    parameters = dict(parse_qsl(urlsplit(link).query))
    signature = parameters.pop("sign")
    judge = judge_of(app_keys)
    text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    assert judge._verify(text, signature)
    assert not judge._verify(text.replace("58.00", "0.01"), signature)


def test_our_gateway_believes_what_it_signs(gateway: AlipayGateway, alipays_keys: KeyPair) -> None:
    """A notify that the other library signs with Alipay's key is believed, and no other one."""
    form = {
        "app_id": gateway.settings.app_id,
        "seller_id": gateway.settings.seller_id,
        "out_trade_no": "o4",
        "trade_no": "t4",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "58.00",
        "subject": "茶杯 & Löffel",
    }
    text = "&".join(f"{name}={value}" for name, value in sorted(form.items()))
    for keys, believed in ((alipays_keys, True), (new_key_pair(), False)):
        signer = AliPay(
            appid="1", app_private_key_string=keys.private, alipay_public_key_string=keys.public, app_notify_url=None
        )
        body = urlencode({**form, "sign": signer._sign(text), "sign_type": "RSA2"}).encode()
        if believed:
            assert gateway.read_notify(body).trade.out_trade_no == "o4"
        else:
            with pytest.raises(Exception, match="not signed"):
                gateway.read_notify(body)


def test_the_serial_numbers_are_the_same(settings: AlipaySettings, other: AliPay) -> None:
    """Of the app's certificate, of Alipay's and of the roots, one of which is not RSA."""
    if not isinstance(other, DCAliPay):
        assert settings.certificates is None
        return
    certificates = settings.certificates
    assert isinstance(certificates, Certificates)
    assert certificates.requests_fields == {
        "app_cert_sn": other.app_cert_sn,
        "alipay_root_cert_sn": other.alipay_root_cert_sn,
    }
    query: dict[str, Any] = dict(parse_qsl(other.client_api("alipay.trade.query", {"out_trade_no": "x"})))
    assert query["app_cert_sn"] == other.app_cert_sn
    assert json.loads(query["biz_content"]) == {"out_trade_no": "x"}


def test_it_is_refused_as_alipay_refuses(other: AliPay) -> None:
    """A trade that does not exist is a refusal for the other library, too."""
    answer = other.api_alipay_trade_query(out_trade_no="unknown")
    assert answer["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    with pytest.raises(AliPayException):
        other.server_api("alipay.trade.unknown", {"out_trade_no": "x"})
