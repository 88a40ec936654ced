"""Verifies and reads Alipay's messages: answers to calls, notifies, and the return page's parameters.

```
AlipayError
├── AlipayUnavailable   no answer, or an answer that cannot be trusted: decide nothing
├── AlipayRefused       a signed answer that refuses the call
└── MessageRefused      a notify or return that is not from Alipay, or not for this shop
```
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any

from lapse.engine.errors import LapseError
from lapse.gateways.alipay.signing import SIGN_TYPE, PublicKey, is_signed, signed_text
from lapse.orders.gateway import Attempt, Ruling, Verdict

CHINA = timezone(timedelta(hours=8))
OK = "10000"
UNAVAILABLE = "20000"
_SYSTEM_ERROR = re.compile(r"SYSTEM_ERROR$|^isp\.|^aop\.unknow")
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
_GAP = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class AlipayError(LapseError):
    """Base of the errors between the shop and Alipay."""


class AlipayUnavailable(AlipayError):
    """No answer, or an answer that cannot be trusted. The call may have taken effect. It may be repeated."""


class AlipayRefused(AlipayError):
    """Alipay refused the call; `code` and `sub_code` are Alipay's, such as 40004 and ACQ.TRADE_NOT_EXIST."""

    def __init__(self, code: str, sub_code: str, message: str) -> None:
        super().__init__(f"Alipay refused: {code} {sub_code} {message}".rstrip())
        self.code = code
        self.sub_code = sub_code


class Flaw(StrEnum):
    """Why a message was refused."""

    SIGNATURE = "signature"
    APP = "app"
    SELLER = "seller"
    MALFORMED = "malformed"


class MessageRefused(AlipayError):
    """A message that must not be trusted; `flaw` is the reason."""

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw


class TradeStatus(StrEnum):
    """The status of a trade at Alipay."""

    WAIT_BUYER_PAY = "WAIT_BUYER_PAY"
    TRADE_CLOSED = "TRADE_CLOSED"
    """Closed unpaid, or fully refunded after it was paid."""
    TRADE_SUCCESS = "TRADE_SUCCESS"
    TRADE_FINISHED = "TRADE_FINISHED"
    """Paid, and refunds are no longer possible."""

    @property
    def paid(self) -> bool:
        """Return whether the buyer has paid, and the money has not been refunded in full."""
        return self in (TradeStatus.TRADE_SUCCESS, TradeStatus.TRADE_FINISHED)

    @property
    def verdict(self) -> Verdict:
        """Return the verdict on the attempt for this status; UNKNOWN while the trade waits for the buyer."""
        if self.paid:
            return Verdict.PAID
        return Verdict.CLOSED if self is TradeStatus.TRADE_CLOSED else Verdict.UNKNOWN


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade: the shop's number, Alipay's number, the status, and the amount in yuan."""

    out_trade_no: str
    trade_no: str
    status: TradeStatus
    total_amount: Decimal

    def ruling(self, attempt: Attempt) -> Ruling:
        """Return the verdict on the attempt by the trade's status, with the amount if it was paid."""
        amount = self.total_amount if self.status.paid else None
        return Ruling(attempt, self.status.verdict, amount=amount, provider_reference=self.trade_no)


@dataclass(frozen=True, slots=True)
class Notification:
    """A verified notify: from Alipay, for this app and seller. The shop must compare the amount with the order's."""

    trade: Trade
    notify_id: str
    raw: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Returned:
    """The verified parameters of the return page. They have no status: query the trade, or wait for the notify."""

    out_trade_no: str
    trade_no: str
    total_amount: Decimal


def china_time(moment: datetime) -> str:
    """Return the moment in Alipay's format and China's time; the fraction of a second is dropped."""
    return moment.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def read_answer(text: str, method: str, key: PublicKey) -> dict[str, Any]:
    """Return the answer to a call of `method`, verified. Alipay signs the answer's exact text.

    Raises AlipayUnavailable or AlipayRefused.
    """
    try:
        members = _members(text)
    except (ValueError, RecursionError) as error:
        raise AlipayUnavailable("Alipay's answer is not JSON") from error
    answer, exact = members.get(method.replace(".", "_") + "_response") or members.get("error_response") or (None, "")
    signature, _ = members.get("sign", ("", ""))
    if not isinstance(answer, dict):
        raise AlipayUnavailable(f"Alipay's answer has no response to {method}")
    code, sub_code, message = (str(answer.get(name, "")) for name in ("code", "sub_code", "sub_msg"))
    if not isinstance(signature, str) or not is_signed(key, exact, signature):
        raise AlipayUnavailable(f"Alipay's answer is not signed by its key: {code} {sub_code} {message}".rstrip())
    if code == UNAVAILABLE or _SYSTEM_ERROR.search(sub_code):
        raise AlipayUnavailable(f"Alipay is unavailable: {code} {sub_code}")
    if code != OK:
        raise AlipayRefused(code, sub_code, message or str(answer.get("msg", "")))
    return answer


def read_trade(message: Mapping[str, Any], status: str) -> Trade:
    """Return the trade of a message; `status` names the field that has the trade's status. Raises ValueError."""
    return Trade(
        _text(message, "out_trade_no"),
        _text(message, "trade_no"),
        TradeStatus(_text(message, status)),
        _amount(_text(message, "total_amount")),
    )


def read_notify(form: Mapping[str, str], key: PublicKey, *, app_id: str, seller_id: str) -> Notification:
    """Return the notify, verified. Raises MessageRefused."""
    _verify(form, key, app_id=app_id, seller_id=seller_id)
    try:
        return Notification(read_trade(form, "trade_status"), form.get("notify_id", ""), dict(form))
    except ValueError as error:
        raise MessageRefused(Flaw.MALFORMED, f"a signed notify cannot be read: {error}") from error


def read_return(query: Mapping[str, str], key: PublicKey, *, app_id: str, seller_id: str) -> Returned:
    """Return the parameters that the buyer's browser brings back, verified. Raises MessageRefused."""
    _verify(query, key, app_id=app_id, seller_id=seller_id)
    try:
        return Returned(_text(query, "out_trade_no"), _text(query, "trade_no"), _amount(_text(query, "total_amount")))
    except ValueError as error:
        raise MessageRefused(Flaw.MALFORMED, f"a signed return cannot be read: {error}") from error


def _verify(message: Mapping[str, str], key: PublicKey, *, app_id: str, seller_id: str) -> None:
    text = signed_text(message, leave_out=("sign", "sign_type"))
    if message.get("sign_type", SIGN_TYPE) != SIGN_TYPE or not is_signed(key, text, message.get("sign", "")):
        raise MessageRefused(Flaw.SIGNATURE, "the message is not signed by Alipay's key")
    if message.get("app_id") != app_id:
        raise MessageRefused(Flaw.APP, f"the message is for app {message.get('app_id')!r}, not {app_id}")
    if message.get("seller_id") != seller_id:
        raise MessageRefused(Flaw.SELLER, f"the message is for seller {message.get('seller_id')!r}, not {seller_id}")


def _members(text: str) -> dict[str, tuple[Any, str]]:
    """Return each member of a JSON object: its value, and its exact text. Raises ValueError."""
    found: dict[str, tuple[Any, str]] = {}
    at = _skip(text, 0)
    separator = "{"
    while text[at : at + 1] == separator:
        name, at = _DECODER.raw_decode(text, _skip(text, at + 1))
        at = _skip(text, at)
        if not isinstance(name, str) or name in found or text[at : at + 1] != ":":
            raise ValueError(f"a JSON object with distinct names is expected, at character {at}")
        start = _skip(text, at + 1)
        value, end = _DECODER.raw_decode(text, start)
        found[name] = (value, text[start:end])
        at = _skip(text, end)
        separator = ","
    if text[at : at + 1] != "}" or _skip(text, at + 1) != len(text):
        raise ValueError(f"the JSON object does not end at character {at}")
    return found


def _skip(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"it has no {name}")
    return value


def _amount(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount")
    return Decimal(text)
