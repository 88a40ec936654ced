"""Calls to the simulator, checked as Alipay checks calls, and the signed answers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from lapse.gateways.alipay.charsets import KNOWN, UTF_8, codec_of, decoded_fields
from lapse.gateways.alipay.client import DOWNLOAD
from lapse.gateways.alipay.keys import PrivateKey, PublicKey
from lapse.gateways.alipay.signing import is_signed, sign, signed_text
from lapse.testing.alipay.trades import Cashier, Refused

CHINA = timezone(timedelta(hours=8))
TIME = "%Y-%m-%d %H:%M:%S"
PAGE_PAY, QUERY, CLOSE, REFUND, REFUND_QUERY = (
    f"alipay.trade.{name}" for name in ("page.pay", "query", "close", "refund", "fastpay.refund.query")
)
METHODS = (PAGE_PAY, QUERY, CLOSE, REFUND, REFUND_QUERY, DOWNLOAD)
MISSING, INVALID = "40001", "40002"
NUMBER = re.compile(r"[0-9A-Za-z_]{1,64}")
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose signature is right: its method, its public parameters and its content."""

    method: str
    parameters: Mapping[str, str]
    content: Mapping[str, Any]


def read_call(raw: dict[str, str], *, app_id: str, key: PublicKey, certificates: Mapping[str, str]) -> Call:
    """Return a call, its parameters and signature checked in Alipay's order. Raises Refused with Alipay's codes.

    `raw` has each byte as one character, because the signature covers bytes. `certificates` are the serial numbers that
    each call must name, by their fields; none in the mode of plain keys.
    """
    parameters = decoded_fields(raw, charset_of(raw))
    method = parameters.get("method", "")
    _need(parameters, "method", "isv.missing-method")
    if method not in METHODS:
        raise Refused("isv.invalid-method", "不存在的方法名", INVALID)
    _need(parameters, "app_id", "isv.missing-app-id")
    if parameters["app_id"] != app_id:
        raise Refused("isv.invalid-app-id", "无效的AppID参数", INVALID)
    _need(parameters, "sign_type", "isv.missing-signature-type")
    if parameters["sign_type"] != "RSA2":
        raise Refused("isv.invalid-signature-type", "无效的签名类型", INVALID)
    _need(parameters, "sign", "isv.missing-signature")
    for name, serial in certificates.items():
        code = name.replace("_", "-")  # for wrong serial numbers, these codes are the simulator's own
        _need(parameters, name, f"isv.missing-{code}")
        if parameters[name] != serial:
            raise Refused(f"isv.invalid-{code}", f"{name} names another certificate", INVALID)
    if not is_signed(key, signed_text(raw).encode("latin-1"), parameters["sign"]):
        raise Refused("isv.invalid-signature", "验签出错", INVALID)
    _need(parameters, "timestamp", "isv.missing-timestamp")
    read_time(parameters["timestamp"], "isv.invalid-timestamp")
    _need(parameters, "version", "isv.missing-version")
    if codec_of(parameters.get("charset", UTF_8)) is None:
        raise Refused("isv.invalid-charset", f"the simulator knows only {KNOWN}", INVALID)
    for name, only in (("format", "json"), ("version", "1.0")):
        if parameters.get(name, only).lower() != only:
            raise Refused(f"isv.invalid-{name}", f"the simulator knows only {only}", INVALID)
    try:
        content = json.loads(parameters.get("biz_content", ""))
    except ValueError as error:
        raise Refused("isv.invalid-parameter", "biz_content is not JSON", INVALID) from error
    if not isinstance(content, dict):
        raise Refused("isv.invalid-parameter", "biz_content is not an object", INVALID)
    return Call(method, parameters, content)


def read_cashier(call: Call) -> Cashier:
    """Return the cashier that a page-pay link describes. Raises Refused."""
    if call.content.get("product_code") != "FAST_INSTANT_TRADE_PAY":
        raise Refused("ACQ.INVALID_PARAMETER", "product_code must be FAST_INSTANT_TRADE_PAY")
    if "timeout_express" in call.content or "time_expire" not in call.content:
        raise Refused("ACQ.INVALID_PARAMETER", "send the absolute time_expire, which does not start again")
    if not _text(call, "subject") or set(_text(call, "subject")) & set("/=&"):
        raise Refused("ACQ.INVALID_PARAMETER", "subject is missing, or has / = or &")
    return Cashier(
        out_trade_no=read_number(call),
        total_amount=read_amount(call, "total_amount"),
        subject=_text(call, "subject"),
        time_expire=read_time(_text(call, "time_expire"), "ACQ.INVALID_PARAMETER"),
        notify_url=call.parameters.get("notify_url", ""),
        return_url=call.parameters.get("return_url", ""),
        charset=call.parameters.get("charset", UTF_8),
    )


def read_number(call: Call, name: str = "out_trade_no") -> str:
    """Return one of the shop's numbers. Raises Refused."""
    number = _text(call, name)
    if not NUMBER.fullmatch(number):
        raise Refused("ACQ.INVALID_PARAMETER", f"{name} must be 1 to 64 letters, digits or underscores")
    return number


def read_amount(call: Call, name: str) -> Decimal:
    """Return an amount in yuan. Raises Refused."""
    text = _text(call, name)
    if not _AMOUNT.fullmatch(text) or not Decimal(text):
        raise Refused("ACQ.INVALID_PARAMETER", f"{name} is not an amount")
    return Decimal(text)


def read_time(text: str, refusal: str) -> datetime:
    """Return a moment that is written in China's time. Raises Refused."""
    try:
        return datetime.strptime(text, TIME).replace(tzinfo=CHINA)
    except ValueError as error:
        raise Refused(refusal, "times are written yyyy-MM-dd HH:mm:ss", INVALID) from error


def write_time(moment: datetime | None) -> str:
    """Return the moment in China's time, "" for None."""
    return moment.astimezone(CHINA).strftime(TIME) if moment else ""


def charset_of(parameters: Mapping[str, str]) -> str:
    """Return the charset in which a call is read and answered: its own if that is known, else UTF-8."""
    charset = parameters.get("charset", UTF_8)
    return charset if codec_of(charset) else UTF_8


def answer(method: str, body: Mapping[str, Any], key: PrivateKey, fields: Mapping[str, str], charset: str) -> bytes:
    """Return an answer in a charset: the body under its name, the `fields`, and the signature over the body's bytes."""
    exact = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(charset)
    name = f"{method.replace('.', '_')}_response" if method in METHODS else "error_response"
    more = "".join(f',"{field}":"{value}"' for field, value in fields.items())
    return b'{"%b":%b%b,"sign":"%b"}' % (name.encode(), exact, more.encode(), sign(key, exact).encode())


def refusal(refused: Refused) -> dict[str, str]:
    """Return the body of a refusal."""
    names = {
        MISSING: "Missing Required Arguments",
        INVALID: "Invalid Arguments",
        "20000": "Service Currently Unavailable",
    }
    return {
        "code": refused.code,
        "msg": names.get(refused.code, "Business Failed"),
        "sub_code": refused.sub_code,
        "sub_msg": refused.message,
    }


def _need(parameters: Mapping[str, str], name: str, sub_code: str) -> None:
    if not parameters.get(name):
        raise Refused(sub_code, f"{name} is missing", MISSING)


def _text(call: Call, name: str) -> str:
    value = call.content.get(name)
    return value if isinstance(value, str) else ""
