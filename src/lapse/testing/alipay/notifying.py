"""Signed notifies, each sent until the shop answers exactly `success`, eight times at most."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlencode

import httpx

from lapse.testing.alipay.faults import Faults, Notifying
from lapse.testing.alipay.keys import Signer, sign_notify
from lapse.testing.alipay.requests import write_time
from lapse.testing.alipay.trades import Book, SimulatedTrade

log = logging.getLogger("lapse.testing.alipay")

PAUSES = (240.0, 600.0, 600.0, 3600.0, 7200.0, 21_600.0, 54_000.0)
"""Seconds between the eight sendings of a notify, within 25 hours as at Alipay."""

ANSWER_WITHIN = 15.0
"""Seconds after which the sending counts as unanswered."""


@dataclass(slots=True)
class Sent:
    """One notify: its trade and status, and for each sending the shop's answer or the kind of error."""

    out_trade_no: str
    trade_status: str
    answers: list[str] = field(default_factory=list)
    done: bool = False


class Notifier:
    """Sends notifies in the background of one event loop. `pace` is a factor on the pauses."""

    def __init__(self, signer: Callable[[], Signer], book: Book, *, app_id: str, seller_id: str, pace: float) -> None:
        self._signer = signer
        self._book = book
        self._identity = {"app_id": app_id, "auth_app_id": app_id, "seller_id": seller_id}
        self._pace = pace
        self._http = httpx.AsyncClient(timeout=ANSWER_WITHIN, trust_env=False)
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent: list[Sent] = []

    def notify(self, trade: SimulatedTrade, faults: Faults, changes: Mapping[str, str] | None = None) -> None:
        """Begin to send the shop the trade's state. `changes` replace fields before the notify is signed.

        Only a change of `sign` makes the signature wrong.
        """
        if not trade.cashier.notify_url or faults.notify is Notifying.DROP:
            return
        form = self.form(trade, faults) | dict(changes or {})
        if not form.get("sign"):
            form = sign_notify(form, self._signer().key)
        sent = Sent(form["out_trade_no"], form["trade_status"])
        self.sent.append(sent)
        delay = faults.notify_delay if faults.notify is Notifying.DELAY else 0.0
        for _ in range(2 if faults.notify is Notifying.DOUBLE else 1):
            task = asyncio.create_task(self._send(trade.cashier.notify_url, form, sent, delay))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def form(self, trade: SimulatedTrade, faults: Faults) -> dict[str, str]:
        """Return the fields of a notify, without a signature."""
        amount = trade.cashier.total_amount if faults.notify_amount is None else faults.notify_amount
        now = self._book.clock.now()
        return {
            "notify_time": write_time(now),
            "notify_type": "trade_status_sync",
            "notify_id": secrets.token_hex(17),
            "charset": faults.charset or trade.cashier.charset,
            "version": "1.0",
            "sign_type": "RSA2",
            **self._identity,
            **({} if faults.unnamed else self._signer().fields),
            "out_trade_no": trade.cashier.out_trade_no,
            "trade_no": trade.trade_no,
            "trade_status": trade.status.value,
            "total_amount": f"{amount:.2f}",
            "subject": trade.cashier.subject,
            "gmt_create": write_time(trade.created_at),
            **({"gmt_payment": write_time(trade.paid_at)} if trade.paid_at else {}),
            **(self._refund(trade, now) if trade.refunds else {}),
            **({"gmt_close": write_time(trade.closed_at)} if trade.closed_at else {}),
            # As Alipay does: a trade that was closed unpaid has an amount refunded, too.
            **({"refund_fee": "0.00"} if trade.closed_at and not trade.refunds else {}),
        }

    @staticmethod
    def _refund(trade: SimulatedTrade, now: datetime) -> dict[str, str]:
        """Return the fields about refunds: the total, and the time and the number of the latest refund."""
        return {
            "refund_fee": f"{trade.refunded:.2f}",
            "gmt_refund": f"{write_time(now)}.{now.microsecond // 1000:03}",  # this field alone has milliseconds
            "out_biz_no": list(trade.refunds)[-1],
        }

    async def close(self) -> None:
        """Stop sending."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    async def _send(self, url: str, form: dict[str, str], sent: Sent, delay: float) -> None:
        await asyncio.sleep(delay)
        for pause in (*PAUSES, None):
            answer = await self._post(url, form)
            sent.answers.append(answer)
            if answer == "success":
                sent.done = True
                return
            log.warning("the shop answered %r to the notify of %s", answer, sent.out_trade_no)
            if pause is not None:
                await asyncio.sleep(pause * self._pace)
        log.error("the notify of %s is not sent any more", sent.out_trade_no)

    async def _post(self, url: str, form: dict[str, str]) -> str:
        try:
            charset = form["charset"]
            headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
            body = urlencode(form, encoding=charset).encode()
            return (await self._http.post(url, content=body, headers=headers)).text[:100]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
