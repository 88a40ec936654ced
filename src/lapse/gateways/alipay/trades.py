"""Trades at Alipay: what a query or a notify says about one payment, and the verdict that follows.

**Closed or refunded.** TRADE_CLOSED means "not paid in time, or refunded in full after the payment" (Alipay's own words
for `trade_status`). What tells the two apart:

* A notify of a refund has `refund_fee`, the total refunded so far, above 0, and `gmt_refund`. A notify of a trade that
  was closed unpaid may also have `refund_fee`, but it is 0.00 (https://developer.aliyun.com/ask/285129).
* The answer to a query has no refund. If the trade was paid, the answer has `send_pay_date`: "when the money of this
  trade went to the seller". It stays after a full refund: an answer of Alipay's sandbox, of 2019-10-22, has it beside
  TRADE_CLOSED (kept as a test of a Go client of Alipay). A full refund without it would be read as CLOSED, which holds
  no money either.

**Partial refunds.** After a partial refund the status stays TRADE_SUCCESS. Only the notify says how much was refunded.
No field of `alipay.trade.query` has the total: a paid trade that is queried has `refunded` None, not reported.
(https://opendocs.alipay.com/open/6c0cdd7d_alipay.trade.refund, and `alipay-sdk-java-all`, AlipayTradeQueryResponse.)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from lapse.orders.gateway import Attempt, Ruling, Verdict

_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
PAID_AT = ("gmt_payment", "send_pay_date")
"""The time of the payment, in a notify and in the answer to a query. A trade that was never paid has neither."""


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


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade: the shop's number, Alipay's number, the status, and the amount in yuan.

    `refunded` is the total refunded so far, in yuan; None: the message does not say. `paid_at` is the time of the
    payment as Alipay wrote it, "" if the message has none.
    """

    out_trade_no: str
    trade_no: str
    status: TradeStatus
    total_amount: Decimal
    refunded: Decimal | None = None
    paid_at: str = ""

    @property
    def verdict(self) -> Verdict:
        """The verdict on the attempt to pay."""
        if self.status is TradeStatus.WAIT_BUYER_PAY:
            return Verdict.OPEN
        if self.status.paid:  # TRADE_FINISHED may follow a full refund
            return Verdict.REFUNDED if (self.refunded or 0) >= self.total_amount > 0 else Verdict.PAID
        return Verdict.REFUNDED if self.paid_at or self.refunded else Verdict.CLOSED

    def ruling(self, attempt: Attempt) -> Ruling:
        """Return the ruling on the attempt. If the buyer has paid, the ruling has the amount."""
        verdict = self.verdict
        if verdict not in (Verdict.PAID, Verdict.REFUNDED):
            return Ruling(attempt, verdict, provider_reference=self.trade_no)
        refunded = self.refunded
        if refunded is None and verdict is Verdict.REFUNDED:
            refunded = self.total_amount  # a paid trade is closed by a full refund only
        return Ruling(attempt, verdict, amount=self.total_amount, refunded=refunded, provider_reference=self.trade_no)


def read_trade(message: Mapping[str, Any]) -> Trade:
    """Return the trade that a notify, or the answer to a query, describes. Raises ValueError."""
    return Trade(
        text_of(message, "out_trade_no"),
        text_of(message, "trade_no"),
        TradeStatus(text_of(message, "trade_status")),
        amount_of(message, "total_amount"),
        amount_of(message, "refund_fee") if message.get("refund_fee") else None,
        next((str(message[name]) for name in PAID_AT if message.get(name)), ""),
    )


def text_of(message: Mapping[str, Any], name: str) -> str:
    """Return one field of a message. Raises ValueError if the field is missing or not a text.

    A text with the zero character is refused as well: PostgreSQL raises an error where such a text is compared.
    """
    value = message.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"it has no {name}")
    if "\0" in value:
        raise ValueError(f"its {name} contains the zero character")
    return value


def amount_of(message: Mapping[str, Any], name: str) -> Decimal:
    """Return one field of a message that is an amount in yuan. Raises ValueError."""
    text = text_of(message, name)
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"its {name}, {text[:20]!r}, is not an amount")
    return Decimal(text)
