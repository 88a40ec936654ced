"""Alipay's page pay: a signed link, the notify, and the questions that lapsing asks.

**When a link is over.** No trade exists at Alipay until the buyer scans the link or signs in. Before that, close and
query both answer ACQ.TRADE_NOT_EXIST while the link can still be paid, so that answer means closed only once the
link's own end, `time_expire`, is past. The end is therefore put before the order's deadline: `link_ends` takes `margin`
off for the difference between the shop's clock and Alipay's, and rounds down to the whole second that Alipay knows. At
the deadline a link that nobody scanned is then over by at least `margin`, and the order lapses at once instead of
waiting for an answer that cannot come. Rounding up, or no margin, would leave a moment in which a lapsed order can be
paid. An order that the buyer cancels before the end of an unscanned link stays closing until then.
"""

import json
import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urlsplit

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.engine.errors import MissingLibrary
from lapse.gateways.alipay import messages
from lapse.gateways.alipay.messages import (
    AlipayError,
    AlipayRefused,
    AlipayUnavailable,
    Flaw,
    MessageRefused,
    Notification,
    Returned,
    Trade,
    TradeStatus,
)
from lapse.gateways.alipay.settings import AlipaySettings
from lapse.gateways.alipay.signing import SIGN_TYPE, read_private_key, read_public_key, sign, signed_text
from lapse.orders.gateway import Attempt, Ruling, Verdict

try:
    import httpx
except ModuleNotFoundError as error:
    raise MissingLibrary("lapse.gateways.alipay.gateway", "alipay") from error

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AlipayError",
    "AlipayGateway",
    "AlipayRefused",
    "AlipaySettings",
    "AlipayUnavailable",
    "Flaw",
    "MessageRefused",
    "Notification",
    "Returned",
    "Trade",
    "TradeStatus",
]

log = logging.getLogger("lapse")

NOT_EXIST = "ACQ.TRADE_NOT_EXIST"
NOT_CLOSABLE = {"ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID", "ACQ.REASON_ILLEGAL_STATUS"}
"""Close's ways to say that the trade is in a status that cannot be closed: paid, or closed before."""
LONGEST_ANSWER = 1 << 20
LONGEST_SUBJECT = 256
LONGEST_NUMBER = 64


class AlipayGateway:
    """One app at Alipay. It may be shared by threads; calls block for at most `timeout` each.

    Whatever Alipay says is believed only if it is signed. `clock` stamps the requests and decides nothing.
    """

    def __init__(self, settings: AlipaySettings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = settings
        self._clock = clock
        self._private_key = read_private_key(settings.private_key, "private_key")
        self._public_key = read_public_key(settings.alipay_public_key, "alipay_public_key")
        # A proxy of the environment is for the world, not for a simulator on this machine.
        self._http = httpx.Client(timeout=settings.timeout.total_seconds(), trust_env=not settings.is_here)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the connections back. A process that has one gateway for all its life need not."""
        self._http.close()

    # The link.

    def link_ends(self, pay_by: datetime) -> datetime:
        """When a link for an order with this deadline must end, in UTC: a whole second, at least `margin` before it."""
        return (pay_by - self.settings.margin).astimezone(UTC).replace(microsecond=0)

    def page_pay_url(self, out_trade_no: str, total_amount: Decimal, subject: str, expire_at: datetime) -> str:
        """Make the link with which the buyer pays; nobody is asked, so no trade exists yet.

        `expire_at` is the link's end, as `link_ends` gives it; a fraction of a second is dropped, never added. Alipay
        refuses to begin or to pay from then on. The same arguments make the same payment, however often.
        Raises ValueError for what Alipay would not take.
        """
        if not (
            0 < len(out_trade_no) <= LONGEST_NUMBER
            and out_trade_no.isascii()
            and out_trade_no.replace("_", "").isalnum()
        ):
            raise ValueError(f"{out_trade_no!r} must be up to {LONGEST_NUMBER} letters, digits and underscores")
        if total_amount <= 0 or total_amount != round(total_amount, 2):
            raise ValueError(f"{total_amount} is no amount in yuan and fen")
        if not 0 < len(subject) <= LONGEST_SUBJECT or set(subject) & set("/=&"):
            raise ValueError(f"{subject!r} must be up to {LONGEST_SUBJECT} characters without / = &")
        if expire_at.tzinfo is None:
            raise ValueError("expire_at must be aware")
        content = {
            "out_trade_no": out_trade_no,
            "total_amount": f"{total_amount:.2f}",
            "subject": subject,
            "product_code": "FAST_INSTANT_TRADE_PAY",
            "time_expire": messages.china_time(expire_at),
        }
        addresses = {"notify_url": self.settings.notify_url, "return_url": self.settings.return_url}
        return self._address(self._signed("alipay.trade.page.pay", content, addresses))

    # What Alipay says by itself.

    def read_notify(self, form: "Mapping[str, str]") -> Notification:
        """Verify a notify's signature, app and seller, and read it. Raises MessageRefused, whatever is in the form."""
        return messages.read_notify(
            form, self._public_key, app_id=self.settings.app_id, seller_id=self.settings.seller_id
        )

    def read_return(self, query: "Mapping[str, str]") -> Returned:
        """Verify the parameters with which the buyer comes back. Raises MessageRefused."""
        return messages.read_return(
            query, self._public_key, app_id=self.settings.app_id, seller_id=self.settings.seller_id
        )

    # What it is asked.

    def query(self, out_trade_no: str) -> Trade | None:
        """Ask for the trade; None where there is none, which it still may become while its link has not ended.

        Raises AlipayUnavailable or AlipayRefused.
        """
        try:
            answer = self._call("alipay.trade.query", {"out_trade_no": out_trade_no})
        except AlipayRefused as refusal:
            if refusal.sub_code == NOT_EXIST:
                return None
            raise
        try:
            trade = messages.read_trade(answer, "trade_status")
        except ValueError as error:
            raise AlipayUnavailable(f"Alipay's answer cannot be read: {error}") from error
        if trade.out_trade_no != out_trade_no:
            raise AlipayUnavailable(f"asked for {out_trade_no}, Alipay answered on {trade.out_trade_no}")
        return trade

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt so that it cannot be paid any more, or find that it was paid. Raises nothing of its own.

        CLOSED: Alipay has closed it, or there is no trade and `attempt.expires_in` says that its link ended at least
        `margin` ago. PAID: with the amount in yuan, not compared with the order's, and Alipay's own trade number.
        UNKNOWN: no answer, or one that decides nothing; the log has the reason.
        """
        try:
            return self._close(attempt)
        except AlipayError as error:
            log.warning("attempt %s could not be closed: %s", attempt.reference, error)
            return Ruling(attempt, Verdict.UNKNOWN)

    def refund(self, out_trade_no: str, amount: Decimal, out_request_no: str) -> Decimal:
        """Give `amount` yuan back; returns what was given back in all. Repeating it with one number refunds once.

        Raises AlipayUnavailable, after which it is to be repeated with the same number, or AlipayRefused.
        """
        content = {"out_trade_no": out_trade_no, "refund_amount": f"{amount:.2f}", "out_request_no": out_request_no}
        return Decimal(str(self._call("alipay.trade.refund", content).get("refund_fee", "0")))

    def _close(self, attempt: Attempt) -> Ruling:
        try:
            self._call("alipay.trade.close", {"out_trade_no": attempt.reference})
        except AlipayRefused as refusal:
            if refusal.sub_code == NOT_EXIST:
                return self._without_trade(attempt)
            if refusal.sub_code not in NOT_CLOSABLE:
                raise
        else:
            return Ruling(attempt, Verdict.CLOSED)
        trade = self.query(attempt.reference)
        if trade is None:
            return self._without_trade(attempt)
        if trade.status.paid:
            return Ruling(attempt, Verdict.PAID, amount=trade.total_amount, provider_reference=trade.trade_no)
        if trade.status is TradeStatus.TRADE_CLOSED:
            return Ruling(attempt, Verdict.CLOSED, provider_reference=trade.trade_no)
        log.warning("attempt %s could not be closed: its trade waits for the buyer's payment", attempt.reference)
        return Ruling(attempt, Verdict.UNKNOWN, provider_reference=trade.trade_no)

    def _without_trade(self, attempt: Attempt) -> Ruling:
        # `expires_in` was read before Alipay was asked, so the link has ended by the time of the answer all the more.
        if attempt.expires_in is not None and attempt.expires_in <= -self.settings.margin:
            return Ruling(attempt, Verdict.CLOSED)
        log.info("attempt %s stays open: no buyer has scanned its link, which has not ended", attempt.reference)
        return Ruling(attempt, Verdict.UNKNOWN)

    def _call(self, method: str, content: dict[str, str]) -> dict[str, Any]:
        """Ask Alipay. Raises AlipayUnavailable or AlipayRefused."""
        parameters = self._signed(method, content, {})
        body = {"biz_content": parameters.pop("biz_content")}
        give_up_at = self._clock.monotonic() + self.settings.timeout.total_seconds()
        answer = bytearray()
        try:
            with self._http.stream("POST", self._address(parameters), data=body) as response:
                for chunk in response.iter_bytes():
                    answer += chunk
                    if self._clock.monotonic() > give_up_at or len(answer) > LONGEST_ANSWER:
                        raise AlipayUnavailable(f"{method}: the answer does not end")
                if response.status_code != httpx.codes.OK:
                    raise AlipayUnavailable(f"{method}: HTTP status {response.status_code}")
                return messages.read_answer(answer.decode(), method, self._public_key)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeDecodeError) as error:
            raise AlipayUnavailable(f"{method}: {type(error).__name__} {error}".rstrip()) from error

    def _signed(self, method: str, content: dict[str, str], addresses: dict[str, str]) -> dict[str, str]:
        parameters = {
            "app_id": self.settings.app_id,
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": SIGN_TYPE,
            "timestamp": messages.china_time(self._clock.now()),
            "version": "1.0",
            "biz_content": json.dumps(content, ensure_ascii=False, separators=(",", ":")),
            **addresses,
        }
        return parameters | {"sign": sign(self._private_key, signed_text(parameters))}

    def _address(self, parameters: dict[str, str]) -> str:
        separator = "&" if urlsplit(self.settings.gateway_url).query else "?"
        return f"{self.settings.gateway_url}{separator}{urlencode(parameters)}"
