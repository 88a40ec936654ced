"""Alipay's messages in GBK and its relatives: verified over their bytes, then read by the charset that they name."""

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote, unquote_to_bytes, urlencode, urlsplit

import pytest

from lapse.engine.errors import LapseError
from lapse.gateways.alipay import (
    AlipayGateway,
    AlipayUnavailable,
    Flaw,
    MessageRefused,
    TradeStatus,
)
from lapse.gateways.alipay.answers import read_answer
from lapse.gateways.alipay.client import LONGEST_ANSWER
from lapse.gateways.alipay.keys import read_private_key, read_public_key
from lapse.gateways.alipay.signers import Signers
from lapse.gateways.alipay.signing import sign
from lapse.orders import Attempt, Verdict
from lapse.testing.alipay import AlipaySimulator, Buyer, KeyPair, sign_notify
from tests.gateways.listening import Listener

SUBJECT = "茶杯 昞媨焳 漏{1}"
"""In GBK the second bytes of the middle three are a backslash and two braces; the last looks like UTF-8."""
QUERY = "alipay.trade.query"
CHARSETS = ("utf-8", "gbk", "gb2312", "gb18030")
LONG_OVER = -timedelta(minutes=1)


def paid(gateway: AlipayGateway, number: str, subject: str = "茶杯 联通") -> str:
    """Pay a new link; return the address to which the buyer comes back."""
    link = gateway.page_pay_url(number, Decimal("58.00"), subject, datetime.now(UTC) + timedelta(minutes=10))
    buyer = Buyer(link)
    assert buyer.scan()
    back = buyer.pay()
    assert back
    return back


def signers_of(keys: KeyPair) -> Signers:
    """Return the one key that signs."""
    return Signers({"": read_public_key(keys.public, "key")})


def answer_of(keys: KeyPair, node: bytes) -> bytes:
    """Return a signed answer around the bytes of its node."""
    signature = sign(read_private_key(keys.private, "key"), node).encode()
    return b'{"alipay_trade_query_response":%b,"sign":"%b"}' % (node, signature)


# --- answers ---


def test_an_answer_of_another_server_is_shown_as_short_text(alipays_keys: KeyPair) -> None:
    """What is not Alipay's may have any text: a terminal's colours and a megabyte stood in the error."""
    node = json.dumps({"sub_msg": "\x1b[31mred\n" + "a" * 10_000}).encode()
    raw = b'{"alipay_trade_query_response":%b,"sign":"AA=="}' % node
    with pytest.raises(AlipayUnavailable, match="not signed") as unavailable:
        read_answer(raw, "", method=QUERY, signers=signers_of(alipays_keys))
    assert str(unavailable.value).isprintable()
    assert len(str(unavailable.value)) < 500


def test_a_long_answer_of_another_server_is_given_up_soon(alipays_keys: KeyPair) -> None:
    """A megabyte of Chinese text took 8 s of CPU time, because each charset places each of its characters."""
    begun = time.process_time()
    with pytest.raises(AlipayUnavailable, match="not JSON"):
        read_answer("茶".encode() * (LONGEST_ANSWER // 3), "", method=QUERY, signers=signers_of(alipays_keys))
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("charset", CHARSETS)
def test_d2_a_signed_paid_in_gbk_is_believed(gateway: AlipayGateway, alipay: AlipaySimulator, charset: str) -> None:
    """Alipay answered in GBK, and a signed "paid" became "unknown". Now the money is found in every charset."""
    number = f"charset_{charset}".replace("-", "")
    paid(gateway, number)
    alipay.faults(charset=charset)
    trade = gateway.trade(number)
    assert trade is not None
    assert trade.status == TradeStatus.TRADE_SUCCESS
    assert gateway.close(Attempt("order", number, "alipay", LONG_OVER)).verdict == Verdict.PAID
    refund = gateway.refund(Attempt("order", "unknown", "alipay"), Decimal(1))
    assert "交易不存在" in refund.reason


@pytest.mark.parametrize(
    "declared", ["", "text/html", "text/html;charset=GBK", 'text/html; charset="utf-8"', "x;charset=x"]
)
@pytest.mark.parametrize("charset", ["utf-8", "gbk", "gb18030"])
def test_d2_the_signature_decides_which_charset_is_right(alipays_keys: KeyPair, charset: str, declared: str) -> None:
    """The header was UTF-8 and the text was GBK: the header cannot make a signed answer wrong."""
    text = SUBJECT if charset != "gb18030" else f"{SUBJECT} 𠮷 ṁ"
    for quoted in (text, f"{text}\\", f'{text}"', f"{text}/a"):
        node = json.dumps({"subject": quoted, "code": "10000"}, ensure_ascii=False).encode(charset)
        raw = answer_of(alipays_keys, node)
        answer = read_answer(raw, declared, method=QUERY, signers=signers_of(alipays_keys))
        assert answer["code"] == "10000"
        if not (charset == "utf-8" and "GBK" in declared):
            assert answer["subject"] == quoted


def test_d2_a_character_that_was_cut_hides_no_money(alipays_keys: KeyPair) -> None:
    """Alipay cuts a text by bytes: half a character is left, and the status beside it is believed all the same."""
    for charset in CHARSETS[:2]:
        for kept in range(1, 6):
            cut = "茶杯".encode(charset)[:kept]
            node = b'{"subject":"' + cut + b'","trade_status":"TRADE_SUCCESS","code":"10000"}'
            answer = read_answer(answer_of(alipays_keys, node), "", method=QUERY, signers=signers_of(alipays_keys))
            assert answer["trade_status"] == "TRADE_SUCCESS"


def test_d2_a_slash_may_be_written_with_a_backslash(alipays_keys: KeyPair) -> None:
    r"""Alipay signs `/` and may send `\/`, which JSON reads as the same; any other change is refused."""
    node = '{"code":"10000","url":"https://x/茶"}'.encode()
    raw = answer_of(alipays_keys, node)
    signers = signers_of(alipays_keys)
    assert read_answer(raw.replace(b"https://x/", b"https:\\/\\/x\\/"), "", method=QUERY, signers=signers)["code"]
    with pytest.raises(AlipayUnavailable, match="not signed"):
        read_answer(raw.replace(b"https", b"http"), "", method=QUERY, signers=signers)


def test_d2_one_changed_byte_is_refused_in_every_charset(alipays_keys: KeyPair) -> None:
    """Bytes that look alike after decoding are not the bytes that were signed."""
    node = '{"code":"10000","subject":"茶杯"}'.encode("gbk")
    raw = answer_of(alipays_keys, node)
    changed = raw.replace("茶杯".encode("gbk"), "茶杯".encode())
    for declared in ("", "text/html;charset=GBK", "text/html;charset=utf-8"):
        with pytest.raises(AlipayUnavailable, match="not signed"):
            read_answer(changed, declared, method=QUERY, signers=signers_of(alipays_keys))


# --- notifies ---


@pytest.mark.parametrize("charset", CHARSETS)
def test_d2_notifies_and_returns_in_gbk_are_read(
    gateway: AlipayGateway, alipay: AlipaySimulator, shop: Listener, charset: str
) -> None:
    """A notify in GBK was read as UTF-8, and its signature failed. The subject comes back as it was sent."""
    alipay.faults(charset=charset)
    number = f"notify_{charset}".replace("-", "")
    back = paid(gateway, number, "茶杯 {联通}")
    shop.wait_for(1)
    body, content_type = shop.bodies[0]
    notification = gateway.read_notify(body, content_type)
    assert notification.raw["subject"] == "茶杯 {联通}"
    assert (notification.trade.out_trade_no, notification.trade.status) == (number, TradeStatus.TRADE_SUCCESS)
    returned = gateway.read_return(urlsplit(back).query.encode())
    assert returned.out_trade_no == number


def notify_of(gateway: AlipayGateway, keys: KeyPair, **changes: str) -> dict[str, str]:
    """Return a signed notify."""
    form = {
        "app_id": gateway.settings.app_id,
        "seller_id": gateway.settings.seller_id,
        "out_trade_no": "n1",
        "trade_no": "t1",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "58.00",
        "subject": "茶杯",
        "sign_type": "RSA2",
        **changes,
    }
    return sign_notify(form, keys.private)


def test_d2_the_signed_charset_counts_before_the_header(gateway: AlipayGateway, alipays_keys: KeyPair) -> None:
    """The charset in the form is signed, the header's is not; without both it is UTF-8."""
    form = notify_of(gateway, alipays_keys, charset="GBK")
    body = urlencode(form, encoding="gbk").encode()
    for content_type in ("", "application/x-www-form-urlencoded; charset=utf-8"):
        assert gateway.read_notify(body, content_type).raw["subject"] == "茶杯"
    plain = notify_of(gateway, alipays_keys)
    assert gateway.read_notify(urlencode(plain).encode()).raw["subject"] == "茶杯"


def test_d2_a_form_that_is_not_quoted_is_read(gateway: AlipayGateway, alipays_keys: KeyPair) -> None:
    """Raw bytes of GBK in the body, and lower-case quoting, are the same form."""
    form = notify_of(gateway, alipays_keys, charset="gbk", subject="昞茶杯")
    body = urlencode(form, encoding="gbk").encode()
    bare = body.replace(quote("昞茶杯", encoding="gbk").encode(), "昞茶杯".encode("gbk"))
    assert gateway.read_notify(bare).raw["subject"] == "昞茶杯"
    assert unquote_to_bytes(bare) == unquote_to_bytes(body)


def test_d2_an_unknown_charset_is_refused_clearly(gateway: AlipayGateway, alipays_keys: KeyPair) -> None:
    """A charset in which one signed text could have two meanings is refused, and the refusal names it."""
    for charset, flaw in (("big5", Flaw.MALFORMED), ("shift_jis", Flaw.MALFORMED), ("utf-16", Flaw.SIGNATURE)):
        form = notify_of(gateway, alipays_keys, charset=charset)
        with pytest.raises(MessageRefused, match=f"charset '{charset}', which is none of UTF-8, GBK") as refused:
            gateway.read_notify(urlencode(form, encoding="utf-8" if charset == "utf-16" else charset).encode())
        assert refused.value.flaw == flaw
        assert refused.value.fields["out_trade_no"] == "n1"


def test_d2_rsa_in_place_of_rsa2_says_so(gateway: AlipayGateway, alipays_keys: KeyPair) -> None:
    """An app that is set to RSA at Alipay: the refusal says where to set RSA2."""
    form = notify_of(gateway, alipays_keys, sign_type="RSA")
    with pytest.raises(MessageRefused, match=r"signed by 'RSA': set RSA2 for this app in Alipay's console"):
        gateway.read_notify(urlencode(form).encode())


def test_d2_empty_fields_may_be_signed_or_not(gateway: AlipayGateway, alipays_keys: KeyPair) -> None:
    """Alipay's own libraries differ in whether an empty field is signed; neither hides money."""
    without = notify_of(gateway, alipays_keys)
    signed = "&".join(
        f"{name}={value}" for name, value in sorted((without | {"body": ""}).items()) if "sign" not in name
    )
    with_empty = sign(read_private_key(alipays_keys.private, "key"), signed)
    for signature in (without["sign"], with_empty):
        form = without | {"body": "", "sign": signature}
        assert gateway.read_notify(urlencode(form).encode()).trade.status.paid


@pytest.mark.parametrize("body", [b"", b"\xff\x00=%00", b"{}", b"&" * 2_000, b"a=1&" * 2_000, b"%", b"=&=", b"\0" * 99])
def test_d2_a_body_that_is_no_form_is_only_refused(gateway: AlipayGateway, body: bytes) -> None:
    """A stranger may post anything, and is refused."""
    with pytest.raises(MessageRefused):
        gateway.read_notify(body, "charset=\0")
    with pytest.raises(MessageRefused):
        gateway.read_return(body)


# --- the simulator ---


def test_d2_the_simulator_takes_calls_in_gbk(alipay: AlipaySimulator, app_keys: KeyPair) -> None:
    """A shop that calls in GBK is answered in GBK, and its subject stands on the cashier's page."""
    end = datetime.now(UTC) + timedelta(hours=8, minutes=5)
    content = (
        f'{{"out_trade_no":"g1","total_amount":"1.00","subject":"茶杯","product_code":"FAST_INSTANT_TRADE_PAY",'
        f'"time_expire":"{end:%Y-%m-%d %H:%M:%S}"}}'
    )
    parameters = {
        "app_id": alipay.app_id,
        "method": "alipay.trade.page.pay",
        "charset": "GBK",
        "sign_type": "RSA2",
        "timestamp": f"{end:%Y-%m-%d %H:%M:%S}",
        "version": "1.0",
        "biz_content": content,
    }
    text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    signature = sign(read_private_key(app_keys.private, "key"), text.encode("gbk"))
    query = urlencode(parameters | {"sign": signature}, encoding="gbk")
    assert Buyer(f"{alipay.gateway_url}?{query}").scan()
    with pytest.raises(LapseError, match="invalid-signature"):
        Buyer(f"{alipay.gateway_url}?{query.replace('FAST', 'SLOW')}")
