"""Refunds at Alipay: the key of an attempt's refund, and the meaning of each answer.

The facts are from Alipay's pages (https://opendocs.alipay.com/open/6c0cdd7d_alipay.trade.refund and
https://docs.open.alipay.com/api_1/alipay.trade.fastpay.refund.query), and from the models of `alipay-sdk-java-all`:

* Code 10000 says that the call was carried out, not that money moved. `fund_change` Y says that this call moved money.
  With N, or without the field, `alipay.trade.fastpay.refund.query` has to be asked: a repeated call answers N.
* `refund_fee` is the total refunded of the trade so far, not the amount of this refund.
* The answer to the query of a refund has `refund_status` REFUND_SUCCESS and `refund_amount`, of this refund. Without
  these fields, Alipay has not received the refund or has not carried it out. It may appear 10 seconds later.
* A repeated call with the same `out_request_no` refunds once. It must have the same amount.
"""

import hashlib
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lapse.gateways.alipay.client import AlipayClient
from lapse.gateways.alipay.messages import AlipayRefused, AlipayUnavailable
from lapse.gateways.alipay.trades import amount_of, text_of
from lapse.orders.gateway import Attempt, Refund, RefundState

log = logging.getLogger("lapse")

REFUND = "alipay.trade.refund"
REFUND_QUERY = "alipay.trade.fastpay.refund.query"
SUCCESS = "REFUND_SUCCESS"
PROCESSING = "REFUND_PROCESSING"
LONGEST_KEY = 64
NO_TRADE = ("ACQ.TRADE_NOT_EXIST", "TRADE_NOT_EXIST")
"""What the query of a refund answers if there is no trade; Alipay's page of that query names the second."""

REFUSED: Mapping[str, str] = {
    "ACQ.TRADE_NOT_EXIST": "there is no such trade: look whether the payment was made under another app_id",
    "ACQ.TRADE_STATUS_ERROR": "the trade is not paid, or is refunded in full already: query the attempt",
    "ACQ.REASON_TRADE_STATUS_INVALID": "the trade is not paid, or is refunded in full already: query the attempt",
    "ACQ.REASON_ILLEGAL_STATUS": "the trade is not paid, or is refunded in full already: query the attempt",
    "ACQ.TRADE_HAS_CLOSE": "the trade is closed, unpaid or refunded in full already: query the attempt",
    "ACQ.TRADE_HAS_FINISHED": "the time for refunds is over: pay the buyer back in another way",
    "ACQ.TRADE_NOT_ALLOW_REFUND": "the contract with Alipay does not allow this refund: refund in Alipay's console",
    "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL": "more than is left of the payment: look at earlier refunds in Alipay's console",
    "ACQ.REASON_TRADE_REFUND_FEE_ERR": "the amount is not valid: look at earlier refunds in Alipay's console",
    "ACQ.REFUND_FEE_ERROR": "the amount is not valid: look at earlier refunds in Alipay's console",
    "ACQ.DISCORDANT_REPEAT_REQUEST": "an earlier call for this attempt had another amount",
    "ACQ.INVALID_PARAMETER": "Alipay does not understand the call: the same call can never succeed",
}
"""The codes after which the same call can never succeed, each with what to do."""
LATER: Mapping[str, str] = {
    "ACQ.SELLER_BALANCE_NOT_ENOUGH": "the balance at Alipay is too low: transfer money there; the refund is repeated",
    "ACQ.REASON_TRADE_BEEN_FREEZEN": "Alipay has frozen the trade: call Alipay's support; the refund is repeated",
    "ACQ.BUYER_ERROR": "the buyer's account at Alipay has a problem: call Alipay's support; the refund is repeated",
}
"""The codes after which the same call may succeed later, each with what to do. So may a code that is in neither table,
for example one about the settings (`isv.…`): nothing is concluded from what Lapse does not know."""


def key_of(attempt: Attempt) -> str:
    """Return the refund's `out_request_no`: always the same for an attempt, so that it is refunded once.

    It differs from the attempt's own number. Alipay uses that number for a refund that was made without a key.
    """
    key = f"{attempt.reference}_refund"
    return key if len(key) <= LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()


def is_amount(amount: Decimal) -> bool:
    """Return whether Alipay could refund this amount of yuan: above 0, and no part of a fen."""
    return amount.is_finite() and amount > 0 and amount == round(amount, 2)


def refund(client: AlipayClient, attempt: Attempt, amount: Decimal) -> Refund:
    """Refund `amount` yuan, once per attempt; return the answer. The log has each that is not DONE."""
    if not is_amount(amount):
        return _logged(Refund(attempt, RefundState.REFUSED, reason=f"{amount} must be an amount in yuan, above 0"))
    content = {
        "out_trade_no": attempt.reference,
        "refund_amount": f"{amount:.2f}",
        "out_request_no": key_of(attempt),
    }
    try:
        if _has_moved(client.call(REFUND, content), amount):
            return Refund(attempt, RefundState.DONE, amount=amount)
        found = Refund(attempt, RefundState.UNKNOWN, reason="Alipay accepted the refund and has no record of it yet")
    except AlipayRefused as refusal:
        found = _refused(attempt, refusal)
    except (AlipayUnavailable, ValueError) as error:
        return _logged(Refund(attempt, RefundState.UNKNOWN, reason=str(error)))
    # An earlier call, whose answer was lost, may have refunded everything. Then this one may be refused.
    recorded = refund_status(client, attempt)
    if recorded.state is RefundState.ABSENT:
        return _logged(found)
    if recorded.amount in (None, amount):
        return recorded
    return _logged(Refund(attempt, RefundState.REFUSED, reason=f"{recorded.amount} yuan were refunded before"))


def refund_status(client: AlipayClient, attempt: Attempt) -> Refund:
    """Return the state of the refund of the attempt. The log has the reason of UNKNOWN."""
    content = {"out_trade_no": attempt.reference, "out_request_no": key_of(attempt)}
    try:
        return _read_status(attempt, client.call(REFUND_QUERY, content))
    except AlipayRefused as refusal:
        if refusal.sub_code in NO_TRADE:
            return Refund(attempt, RefundState.ABSENT)
        return _logged(Refund(attempt, RefundState.UNKNOWN, reason=str(refusal)))
    except (AlipayUnavailable, ValueError) as error:
        return _logged(Refund(attempt, RefundState.UNKNOWN, reason=str(error)))


def _logged(refund: Refund) -> Refund:
    log.warning("the refund of attempt %s is %s: %s", refund.attempt.reference, refund.state, refund.reason)
    return refund


def _refused(attempt: Attempt, refusal: AlipayRefused) -> Refund:
    """Return what a refusal of the refund says: REFUSED if it is final, otherwise UNKNOWN."""
    state = RefundState.REFUSED if refusal.sub_code in REFUSED else RefundState.UNKNOWN
    advice = REFUSED.get(refusal.sub_code) or LATER.get(refusal.sub_code)
    return Refund(attempt, state, reason=f"{refusal}; {advice}" if advice else str(refusal))


def _has_moved(answer: Mapping[str, Any], amount: Decimal) -> bool:
    """Return whether the answer to a refund says that this call moved money. Raises ValueError."""
    if answer.get("fund_change") != "Y":
        return False
    text_of(answer, "out_trade_no")
    if (total := amount_of(answer, "refund_fee")) < amount:
        raise ValueError(f"its refund_fee, {total}, is less than this refund of {amount}")
    return True


def _read_status(attempt: Attempt, answer: Mapping[str, Any]) -> Refund:
    """Return the refund that an answer to the query of a refund describes. Raises ValueError."""
    status = answer.get("refund_status") or ""
    if not status and not answer.get("refund_amount"):
        return Refund(attempt, RefundState.ABSENT)
    if (number := text_of(answer, "out_request_no")) != key_of(attempt):  # no answer is signed together with its call
        raise ValueError(f"it is about refund {number[:LONGEST_KEY]!r}")
    if status == PROCESSING:
        return Refund(attempt, RefundState.PENDING, amount=amount_of(answer, "refund_amount"))
    if status != SUCCESS:
        raise ValueError(f"its refund_status is {status!r:.40}")
    return Refund(attempt, RefundState.DONE, amount=amount_of(answer, "refund_amount"))
