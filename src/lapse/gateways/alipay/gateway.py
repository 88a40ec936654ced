"""Alipay's page pay: a signed payment link, the notify, and the port of a payment gateway.

**When a link has ended.** Alipay has no trade until the buyer scans the link or signs in. Before that, both close and
query answer ACQ.TRADE_NOT_EXIST, although the link can still be paid. So that answer means closed only after the link
has expired, at `time_expire`. Therefore the link must expire before the order's deadline. `link_ends` subtracts
`margin`, for the difference between the shop's clock and Alipay's. It rounds down to whole seconds, which is Alipay's
precision. So at the deadline an unscanned link has been expired for at least `margin`, and the order lapses at once.
Without the margin, or rounded up, a lapsed order could be paid for a moment. If the buyer cancels an order before its
unscanned link expires, the order stays closing until the link expires.
"""

import logging
import secrets
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from lapse.engine.clock import SYSTEM_CLOCK, Clock
from lapse.gateways.alipay import messages, refunds
from lapse.gateways.alipay.client import AlipayClient
from lapse.gateways.alipay.messages import (
    AlipayError,
    AlipayRefused,
    AlipayUnavailable,
    Notification,
    Returned,
)
from lapse.gateways.alipay.settings import AlipaySettings
from lapse.gateways.alipay.trades import Trade, read_trade
from lapse.orders.gateway import Attempt, Refund, Ruling, Verdict

log = logging.getLogger("lapse")

NOT_EXIST = "ACQ.TRADE_NOT_EXIST"
NOT_CLOSABLE = {"ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID", "ACQ.REASON_ILLEGAL_STATUS"}
"""The codes with which close refuses a trade that is paid or was closed before."""
LONGEST_SUBJECT = 256
LONGEST_NUMBER = 64


class AlipayGateway:
    """One app at Alipay: a `lapse.orders.Gateway`. Threads may share it. Calls to Alipay block.

    Each HTTP call ends within the settings' `timeout`. A call of the port makes one HTTP call, or two if the first
    answer alone decides nothing.

    The gateway trusts a message only if Alipay's key has signed it. `clock` only sets the requests' timestamps.
    """

    def __init__(self, settings: AlipaySettings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = settings
        self._client = AlipayClient(settings, clock)
        for warning in settings.warnings():
            log.warning("%s", warning)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections. A process that keeps one gateway until it ends need not call this."""
        self._client.close()

    # The link.

    def link_ends(self, pay_by: datetime) -> datetime:
        """Return when a link must expire for this deadline: a whole second in UTC, at least `margin` before it."""
        return (pay_by - self.settings.margin).astimezone(UTC).replace(microsecond=0)

    @property
    def least_window(self) -> timedelta:
        """The shortest time to pay with which each order gets a link. Add the time that your buyers need."""
        return self.settings.margin + self.settings.ROUNDING

    def page_pay_url(self, out_trade_no: str, total_amount: Decimal, subject: str, expire_at: datetime) -> str:
        """Return the link with which the buyer pays `total_amount` yuan. This calls no server, so no trade exists yet.

        `expire_at` is when the link expires, as `link_ends` returns it; it is rounded down to whole seconds. From
        then on Alipay refuses to start or to complete a payment. The same arguments always mean the same payment.
        Raises ValueError for an argument that Alipay would refuse.
        """
        if not (
            0 < len(out_trade_no) <= LONGEST_NUMBER
            and out_trade_no.isascii()
            and out_trade_no.replace("_", "").isalnum()
        ):
            raise ValueError(f"{out_trade_no!r} must be up to {LONGEST_NUMBER} letters, digits and underscores")
        if total_amount <= 0 or total_amount != round(total_amount, 2):
            raise ValueError(f"{total_amount} must be an amount in yuan, above 0, with at most two decimals")
        if not 0 < len(subject) <= LONGEST_SUBJECT or set(subject) & set("/=&"):
            raise ValueError(f"{subject!r} must be up to {LONGEST_SUBJECT} characters without / = &")
        if expire_at.tzinfo is None:
            raise ValueError("expire_at must have a time zone")
        content = {
            "out_trade_no": out_trade_no,
            "total_amount": f"{total_amount:.2f}",
            "subject": subject,
            "product_code": "FAST_INSTANT_TRADE_PAY",
            "time_expire": messages.china_time(expire_at),
        }
        addresses = {"notify_url": self.settings.notify_url, "return_url": self.settings.return_url}
        return self._client.link("alipay.trade.page.pay", content, addresses)

    # Messages that Alipay sends.

    def read_notify(self, body: bytes, content_type: str = "") -> Notification:
        """Verify signature, app and seller, and return the notify. For any body, raises only MessageRefused.

        `body` is the request's body as it came. A form that a framework has decoded will not do, because Alipay may
        write in GBK. `content_type` is the request's header; it counts where the form does not name its charset.
        """
        return messages.read_notify(
            body,
            self._client.signers,
            app_id=self.settings.app_id,
            seller_id=self.settings.seller_id,
            content_type=content_type,
        )

    def read_return(self, query: bytes) -> Returned:
        """Verify and return the parameters with which the buyer's browser came back. Raises MessageRefused.

        `query` is the address's query as it came, still quoted.
        """
        own = dict(parse_qsl(urlsplit(self.settings.return_url).query, keep_blank_values=True))
        return messages.read_return(
            query, self._client.signers, app_id=self.settings.app_id, seller_id=self.settings.seller_id, own=own
        )

    # The port. No call raises an AlipayError: the log has the reason of each UNKNOWN.

    def query(self, attempt: Attempt) -> Ruling:
        """Return Alipay's verdict on the attempt without changing anything.

        ABSENT: Alipay has no trade, and the link can still be paid. CLOSED: the trade was closed unpaid; or Alipay has
        no trade, and by `attempt.expires_in` the link expired at least `margin` ago. PAID and REFUNDED: the ruling has
        Alipay's trade number and the amount in yuan, not yet compared with the order's. A query cannot see a partial
        refund, so `refunded` of a PAID ruling is None here; the notify has it. UNKNOWN: no answer, or an unclear one.
        """
        try:
            return self._ruling(attempt, self.trade(attempt.reference))
        except AlipayError as error:
            log.warning("attempt %s could not be queried: %s", attempt.reference, error)
            return Ruling(attempt, Verdict.UNKNOWN)

    def close(self, attempt: Attempt) -> Ruling:
        """Close the attempt so that it can no longer be paid; return the ruling, as `query` does.

        CLOSED also means that Alipay has closed the trade now. ABSENT: it could not be closed yet.
        """
        try:
            return self._close(attempt)
        except AlipayError as error:
            log.warning("attempt %s could not be closed: %s", attempt.reference, error)
            return Ruling(attempt, Verdict.UNKNOWN)

    def refund(self, attempt: Attempt, amount: Decimal) -> Refund:
        """Refund `amount` yuan of what the buyer paid; return the answer. However often it is called, it refunds once.

        The first call decides the amount: another amount is REFUSED. UNKNOWN: repeat the same call later; `reason` says
        what Alipay needs before that, if it is known. A refusal is believed only if Alipay has no record of the refund:
        an earlier call whose answer was lost may have refunded everything, and then there is nothing left to refund.
        """
        return refunds.refund(self._client, attempt, amount)

    def refund_status(self, attempt: Attempt) -> Refund:
        """Return the state of the refund that `refund` asked for. A refund in Alipay's console is not this refund.

        ABSENT: Alipay has no record of the refund, so `refund` may be called again. Alipay's record may be 10 seconds
        late. DONE: `amount` is what this refund gave back.
        """
        return refunds.refund_status(self._client, attempt)

    # What only Alipay has.

    def trade(self, out_trade_no: str) -> Trade | None:
        """Return the trade, or None if Alipay has none. Until the link expires, a trade may still begin.

        Raises AlipayUnavailable or AlipayRefused.
        """
        try:
            answer = self._client.call("alipay.trade.query", {"out_trade_no": out_trade_no})
        except AlipayRefused as refusal:
            if refusal.sub_code == NOT_EXIST:
                return None
            raise
        try:
            return read_trade(answer)
        except ValueError as error:
            raise AlipayUnavailable(f"Alipay's answer to a query is incomplete: {error}") from error

    def probe(self) -> None:
        """Query a number that no trade has: afterwards, Alipay and this gateway have believed each other's signatures.

        Raises AlipayUnavailable or AlipayRefused, which says which setting is wrong if only another setting can help.
        """
        self.trade(f"probe_{secrets.token_hex(16)}")

    def _close(self, attempt: Attempt) -> Ruling:
        try:
            self._client.call("alipay.trade.close", {"out_trade_no": attempt.reference})
        except AlipayRefused as refusal:
            if refusal.sub_code == NOT_EXIST:
                return self._ruling(attempt, None)
            if refusal.sub_code not in NOT_CLOSABLE:
                raise
        else:
            return Ruling(attempt, Verdict.CLOSED)
        trade = self.trade(attempt.reference)
        if trade is None:  # two answers that contradict each other: the trade may be paid
            raise AlipayUnavailable("Alipay has a trade that cannot be closed, and has no such trade")
        ruling = trade.ruling(attempt)
        if ruling.verdict is Verdict.OPEN:
            log.warning("attempt %s could not be closed: its trade waits for the buyer's payment", attempt.reference)
        return ruling

    def _ruling(self, attempt: Attempt, trade: Trade | None) -> Ruling:
        """Return the ruling on the attempt to which the trade belongs; None: Alipay has no trade."""
        if trade is not None:
            return trade.ruling(attempt)
        # `expires_in` was read before the call to Alipay, so when the answer comes, even less time is left.
        if attempt.expires_in is not None and attempt.expires_in <= -self.settings.margin:
            return Ruling(attempt, Verdict.CLOSED)
        log.info("attempt %s stays open: its link is not scanned and has not expired", attempt.reference)
        return Ruling(attempt, Verdict.ABSENT)
