"""Verifies and reads the messages that Alipay sends by itself: notifies, and the return page's parameters.

```
AlipayError
├── AlipayUnavailable   no answer, or an answer that cannot be trusted: decide nothing
├── AlipayRefused       a signed answer that refuses the call
└── MessageRefused      a notify or return that is not from Alipay, or not for this shop
```
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum

from lapse.engine.errors import LapseError
from lapse.gateways.alipay.charsets import KNOWN, UTF_8, codec_of, declared_charset, decoded_fields, raw_fields
from lapse.gateways.alipay.signers import Signers, UnknownSigner
from lapse.gateways.alipay.signing import SIGN_TYPE, signed_text
from lapse.gateways.alipay.trades import Trade, amount_of, read_trade, text_of
from lapse.orders.gateway import Attempt, Ruling

CHINA = timezone(timedelta(hours=8))
PROVIDER = "alipay"
"""The name that attempts at Alipay have, unless the shop chose another."""
CERTIFICATE = "alipay_cert_sn"
"""The field with the serial number of the certificate that Alipay signed with."""


class AlipayError(LapseError):
    """Base of the errors between the shop and Alipay."""


class AlipayUnavailable(AlipayError):
    """No answer, or an answer that cannot be trusted. The call may have taken effect. It may be repeated."""


WHAT_TO_DO = {
    "isv.invalid-signature": "Alipay's console has another key or certificate than that of private_key",
    "isv.invalid-app-id": "Alipay does not know app_id at gateway_url; the sandbox has apps of its own",
}
"""For refusals that only other settings can end: what is wrong with the settings."""


class AlipayRefused(AlipayError):
    """Alipay refused the call; `code` and `sub_code` are Alipay's, such as 40004 and ACQ.TRADE_NOT_EXIST."""

    def __init__(self, code: str, sub_code: str, message: str) -> None:
        hint = f": {WHAT_TO_DO[sub_code]}" if sub_code in WHAT_TO_DO else ""
        super().__init__(f"Alipay refused: {code} {sub_code} {message}".rstrip() + hint)
        self.code = code
        self.sub_code = sub_code


class Flaw(StrEnum):
    """Why a message was refused."""

    SIGNATURE = "signature"
    APP = "app"
    SELLER = "seller"
    MALFORMED = "malformed"


class MessageRefused(AlipayError):
    """A message that must not be trusted; `flaw` is the reason, `fields` is what the message says."""

    def __init__(self, flaw: Flaw, message: str, fields: Mapping[str, str]) -> None:
        super().__init__(message)
        self.flaw = flaw
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Notification:
    """A verified notify: from Alipay, for this app and seller. The shop must compare the amount with the order's.

    `notify_id` is Alipay's number of the notify, the same each time that Alipay sends this notify again. `refund_key`
    is the `out_request_no` of the refund that the notify reports, or Alipay's own number of a refund in its console;
    "" if the notify reports no refund.
    """

    trade: Trade
    notify_id: str
    raw: Mapping[str, str] = field(repr=False)
    refund_key: str = ""

    @property
    def identity(self) -> str:
        """What the notify says of its trade, in at most 160 characters: two notifies with one identity say the same.

        The identity has what was refunded. A shop that recognises notifies by trade and status alone would take a
        second refund for a repetition of the first. `notify_id` alone would not do: Alipay may report one state twice.
        """
        refunded = self.trade.refunded or Decimal()
        return f"{self.trade.trade_no} {self.trade.status} {refunded:.2f} {self.refund_key}".rstrip()

    def ruling(self, attempt: Attempt | None = None) -> Ruling:
        """Return the ruling on the attempt to which the notify belongs, with amount and amount refunded.

        Without `attempt`, the ruling is about the attempt with the trade's number at the gateway "alipay", and has no
        key of an order: `unpaid_orders().receive` needs no more. Raises ValueError for another attempt.
        """
        if attempt is None:
            attempt = Attempt(order_key="", reference=self.trade.out_trade_no, gateway=PROVIDER)
        if attempt.reference != self.trade.out_trade_no:
            raise ValueError(f"the notify is about {self.trade.out_trade_no!r}, not about {attempt.reference!r}")
        return self.trade.ruling(attempt)


@dataclass(frozen=True, slots=True)
class Returned:
    """The verified parameters of the return page. They have no status: query the trade, or wait for the notify."""

    out_trade_no: str
    trade_no: str
    total_amount: Decimal


def china_time(moment: datetime) -> str:
    """Return the moment in Alipay's format and China's time; the fraction of a second is dropped."""
    return moment.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def read_notify(body: bytes, signers: Signers, *, app_id: str, seller_id: str, content_type: str = "") -> Notification:
    """Return the notify, verified over its bytes. Raises MessageRefused."""
    form = _verified(body, signers, content_type, app_id=app_id, seller_id=seller_id)
    try:
        return Notification(read_trade(form), form.get("notify_id", ""), form, form.get("out_biz_no", ""))
    except ValueError as error:
        raise MessageRefused(Flaw.MALFORMED, f"a signed notify cannot be read: {error}", form) from error


def read_return(query: bytes, signers: Signers, *, app_id: str, seller_id: str, own: Collection[str] = ()) -> Returned:
    """Return the parameters that the buyer's browser brings back, verified over their bytes. Raises MessageRefused.

    `own` names the parameters that the shop's own address has, which Alipay does not sign.
    """
    form = _verified(query, signers, "", app_id=app_id, seller_id=seller_id, own=own)
    try:
        return Returned(text_of(form, "out_trade_no"), text_of(form, "trade_no"), amount_of(form, "total_amount"))
    except ValueError as error:
        raise MessageRefused(Flaw.MALFORMED, f"a signed return cannot be read: {error}", form) from error


def _verified(
    message: bytes, signers: Signers, content_type: str, *, app_id: str, seller_id: str, own: Collection[str] = ()
) -> dict[str, str]:
    """Return the fields of a message that Alipay has signed for this app and seller. Raises MessageRefused."""
    try:
        raw = {name: value for name, value in raw_fields(message).items() if name not in own}
    except ValueError as error:
        raise MessageRefused(Flaw.MALFORMED, "the message has far too many fields", {}) from error
    # The charset in the message is signed, the one in the header is not.
    charset = raw.get("charset") or declared_charset(content_type) or UTF_8
    form = decoded_fields(raw, codec_of(charset) or UTF_8)
    if raw.get("sign_type", SIGN_TYPE) != SIGN_TYPE:
        raise MessageRefused(
            Flaw.SIGNATURE,
            f"the message is signed by {form['sign_type'][:20]!r}: set RSA2 for this app in Alipay's console",
            form,
        )
    try:
        signed = signers.have_signed_message(_signed_texts(raw), raw.get("sign", ""), raw.get(CERTIFICATE, ""))
    except UnknownSigner as error:
        raise MessageRefused(Flaw.SIGNATURE, str(error), form) from error
    unknown = "" if codec_of(charset) else f"the message is in the charset {charset[:20]!r}, which is none of {KNOWN}"
    if not signed:
        text = "the message is not signed by Alipay's key"
        raise MessageRefused(Flaw.SIGNATURE, f"{text}; {unknown}" if unknown else text, form)
    if unknown:
        raise MessageRefused(Flaw.MALFORMED, unknown, form)
    if form.get("app_id") != app_id:
        raise MessageRefused(Flaw.APP, f"the message is for app {form.get('app_id')!r}, not {app_id}", form)
    if form.get("seller_id") != seller_id:
        raise MessageRefused(Flaw.SELLER, f"the message is for seller {form.get('seller_id')!r}, not {seller_id}", form)
    return form


def _signed_texts(raw: Mapping[str, str]) -> Sequence[bytes]:
    """Return the texts that Alipay may have signed: its own libraries differ in two rules.

    Some sign the certificate's serial number and empty values, some do not. Neither has a meaning for the shop.
    """
    texts = (
        signed_text(raw, leave_out=("sign", "sign_type", *more), keep_empty=keep_empty)
        for keep_empty in (False, True)
        for more in ((), (CERTIFICATE,))
    )
    return list(dict.fromkeys(text.encode("latin-1") for text in texts))
