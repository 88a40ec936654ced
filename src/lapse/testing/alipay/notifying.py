"""Signed notifies, each sent until the shop answers exactly `success`, eight times at most."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import httpx

from lapse.gateways.alipay.keys import PrivateKey, read_private_key
from lapse.testing.alipay.faults import Notifying
from lapse.testing.alipay.keys import Signer, new_key_pair, sign_notify
from lapse.testing.alipay.requests import write_time
from lapse.testing.alipay.switches import Switches
from lapse.testing.alipay.trades import Book, SimulatedTrade

log = logging.getLogger("lapse.testing.alipay")

PAUSES = (240.0, 600.0, 600.0, 3600.0, 7200.0, 21_600.0, 54_000.0)
"""Seconds between the eight sendings of a notify, within 25 hours as at Alipay."""

ANSWER_WITHIN = 15.0
"""Seconds after which the sending counts as unanswered."""


@dataclass(slots=True)
class Sent:
    """One notify: its trade and status, how it is sent, and per sending the shop's answer or the kind of error.

    `answered` is set once the first sending has its answer, or none in time.
    """

    out_trade_no: str
    trade_status: str
    how: Notifying = Notifying.SEND
    answers: list[str] = field(default_factory=list)
    done: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


@dataclass(slots=True)
class _Message:
    """A notify that is ready: where to, what, and the messages that come after its first answer."""

    url: str
    form: dict[str, str] = field(repr=False)
    sent: Sent
    after: "Sequence[_Message]" = ()


class Notifier:
    """Sends notifies in the background of one event loop. `pace` is a factor on the pauses."""

    def __init__(
        self,
        signer: Callable[[], Signer],
        book: Book,
        switches: Switches,
        *,
        app_id: str,
        seller_id: str,
        pace: float,
    ) -> None:
        self._signer = signer
        self._book = book
        self._switches = switches
        self._identity = {"app_id": app_id, "auth_app_id": app_id, "seller_id": seller_id}
        self._pace = pace
        self._http = httpx.AsyncClient(timeout=ANSWER_WITHIN, trust_env=False)
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[str, list[_Message]] = {}
        self.sent: list[Sent] = []

    def notify(self, trade: SimulatedTrade) -> Sent | None:
        """Begin to send the trade's state, as the faults say. Return the notify, or None without an address."""
        if not trade.cashier.notify_url:
            return None
        number = trade.cashier.out_trade_no
        how = Notifying(self._switches.use("notify", number))
        message = self._message(trade, {}, how)
        if how is Notifying.DROP:
            return message.sent
        if how is Notifying.REORDER and number not in self._held:
            self._held[number] = [message]
            return message.sent
        delay = self._switches.value("notify_delay", number) if how is Notifying.DELAY else 0.0
        self._begin(message, delay)
        if how is Notifying.DOUBLE:
            self._start(self._send(message, 0.0))
        return message.sent

    def send(self, trade: SimulatedTrade, changes: Mapping[str, str]) -> None:
        """Begin to send the trade's state now. `changes` replace fields before the notify is signed.

        Only a change of `sign` makes the signature wrong. The fault `notify` has no effect: a person wants it sent.
        """
        if trade.cashier.notify_url:
            self._begin(self._message(trade, changes, Notifying.SEND), 0.0)

    def release(self, out_trade_no: str = "") -> None:
        """Send the notifies that wait for the next one of their trade; without a number, those of every trade."""
        for number in [out_trade_no] if out_trade_no else list(self._held):
            for message in self._held.pop(number, []):
                self._begin(message, 0.0)

    async def close(self) -> None:
        """Stop sending."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    @cached_property
    def forger(self) -> PrivateKey:
        """A key that is not Alipay's."""
        return read_private_key(new_key_pair().private, "the forger's key")

    def _message(self, trade: SimulatedTrade, changes: Mapping[str, str], how: Notifying) -> _Message:
        number = trade.cashier.out_trade_no
        form = {**self._form(trade), **changes}
        if not form.get("sign"):
            key = self.forger if self._switches.use("notify_forged", number) else self._signer().key
            form = sign_notify(form, key)
        sent = Sent(form["out_trade_no"], form["trade_status"], how)
        self.sent.append(sent)
        return _Message(trade.cashier.notify_url, form, sent)

    def _form(self, trade: SimulatedTrade) -> dict[str, str]:
        """Return the fields of a notify, without a signature."""
        number, now, use = trade.cashier.out_trade_no, self._book.clock.now(), self._switches.use
        wrong = {"seller_id": use("notify_seller", number), "app_id": use("notify_app", number)}
        amount = use("notify_amount", number)
        return {
            "notify_time": write_time(now),
            "notify_type": "trade_status_sync",
            "notify_id": secrets.token_hex(17),
            "charset": use("charset", number) or trade.cashier.charset,
            "version": "1.0",
            "sign_type": "RSA2",
            **self._identity,
            **{name: value for name, value in wrong.items() if value},
            **({} if use("unnamed", number) else self._signer().fields),
            "out_trade_no": number,
            "trade_no": trade.trade_no,
            "trade_status": trade.status.value,
            "total_amount": f"{trade.cashier.total_amount if amount is None else amount:.2f}",
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

    def _begin(self, message: _Message, delay: float) -> None:
        message.after = self._held.pop(message.sent.out_trade_no, [])
        self._start(self._send(message, delay))

    def _start(self, sending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, message: _Message, delay: float) -> None:
        sent = message.sent
        await asyncio.sleep(delay)
        for pause in (*PAUSES, None):
            answer = await self._post(message.url, message.form)
            sent.answers.append(answer)
            sent.answered.set()
            after, message.after = message.after, ()
            for later in after:
                self._start(self._send(later, 0.0))
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
