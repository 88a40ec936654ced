"""The simulator's book of trades: what each status allows, and Alipay's code for each refusal."""

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from lapse.engine.clock import Clock
from lapse.gateways.alipay.trades import TradeStatus


class Refused(Exception):
    """A refusal by Alipay: a code, a sub-code and a sentence."""

    def __init__(self, sub_code: str, message: str, code: str = "40004") -> None:
        super().__init__(f"{sub_code}: {message}")
        self.code = code
        self.sub_code = sub_code
        self.message = message


@dataclass(slots=True, kw_only=True)
class Cashier:
    """A link that was opened: what the buyer has to pay, until when, and where Alipay sends notify and buyer."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    out_trade_no: str
    total_amount: Decimal
    subject: str
    time_expire: datetime
    notify_url: str
    return_url: str
    charset: str


@dataclass(slots=True, kw_only=True)
class SimulatedTrade:
    """One trade, which exists once the buyer has scanned the link."""

    trade_no: str
    cashier: Cashier
    created_at: datetime
    status: TradeStatus = TradeStatus.WAIT_BUYER_PAY
    paid_at: datetime | None = None
    closed_at: datetime | None = None
    refunds: dict[str, Decimal] = field(default_factory=dict)
    """The refunds in yuan, by `out_request_no`; the oldest first."""

    @property
    def refunded(self) -> Decimal:
        """The total refunded, in yuan."""
        return sum(self.refunds.values(), Decimal())


class Book:
    """All links and trades. One event loop owns the book; it is not for several threads.

    `overtime` returns whether the link with a number can be paid after its end.
    """

    def __init__(self, clock: Clock, overtime: Callable[[str], bool]) -> None:
        self.clock = clock
        self.cashiers: dict[str, Cashier] = {}
        self._overtime = overtime
        self._trades: dict[str, SimulatedTrade] = {}
        self._numbers = itertools.count(1)
        self._blocked: set[str] = set()

    def open(self, cashier: Cashier) -> Cashier:
        """Return the cashier of a link, which makes no trade. Raises Refused if the number had other terms before."""
        known = self.cashier_of(cashier.out_trade_no)
        if known is None:
            self.cashiers[cashier.token] = cashier
            return cashier
        if (known.total_amount, known.subject) != (cashier.total_amount, cashier.subject):
            raise Refused("ACQ.CONTEXT_INCONSISTENT", "the trade has other terms")
        trade = self.find(cashier.out_trade_no)
        if trade is None:  # until there is a trade, the newest link counts
            known.time_expire = cashier.time_expire
            known.notify_url, known.return_url = cashier.notify_url, cashier.return_url
        return known

    def cashier_of(self, out_trade_no: str) -> Cashier | None:
        """Return the link that was opened under this number, or None."""
        return next((one for one in self.cashiers.values() if one.out_trade_no == out_trade_no), None)

    def find(self, out_trade_no: str) -> SimulatedTrade | None:
        """Return the trade, or None. A trade that was not paid in time is closed."""
        trade = self._trades.get(out_trade_no)
        if trade and trade.status is TradeStatus.WAIT_BUYER_PAY and self.is_over(trade.cashier):
            self._close(trade)
        return trade

    def get(self, out_trade_no: str) -> SimulatedTrade:
        """Return the trade. Raises Refused if there is none."""
        trade = self.find(out_trade_no)
        if trade is None:
            raise Refused("ACQ.TRADE_NOT_EXIST", "交易不存在")
        return trade

    def all(self) -> list[SimulatedTrade]:
        """Return every trade, oldest first."""
        return [trade for number in list(self._trades) if (trade := self.find(number))]

    def is_over(self, cashier: Cashier) -> bool:
        """Return whether the link has ended, or is blocked."""
        number = cashier.out_trade_no
        return number in self._blocked or (self.clock.now() >= cashier.time_expire and not self._overtime(number))

    def block(self, out_trade_no: str) -> None:
        """Let the link with this number be scanned no more."""
        self._blocked.add(out_trade_no)

    def scan(self, cashier: Cashier) -> SimulatedTrade:
        """Return the trade of the link that the buyer scans, created if needed. Raises Refused after its end."""
        trade = self.find(cashier.out_trade_no)
        if trade is not None:
            return trade
        if self.is_over(cashier):
            raise Refused("ACQ.TRADE_HAS_CLOSE", "the time to pay is over")
        now = self.clock.now()
        number = f"{now + timedelta(hours=8):%Y%m%d}2200{secrets.randbelow(10**6):06}{next(self._numbers):010}"
        trade = self._trades[cashier.out_trade_no] = SimulatedTrade(trade_no=number, cashier=cashier, created_at=now)
        return trade

    def pay(self, cashier: Cashier) -> SimulatedTrade:
        """Return the trade, which the buyer has paid now. Raises Refused unless the trade waits for the buyer."""
        trade = self.get(cashier.out_trade_no)
        if trade.status is TradeStatus.TRADE_CLOSED:
            raise Refused("ACQ.TRADE_HAS_CLOSE", "the trade is closed")
        if trade.status is not TradeStatus.WAIT_BUYER_PAY:
            raise Refused("ACQ.TRADE_HAS_SUCCESS", "the trade is paid")
        trade.status, trade.paid_at = TradeStatus.TRADE_SUCCESS, self.clock.now()
        return trade

    def close(self, out_trade_no: str) -> SimulatedTrade:
        """Close an unpaid trade and return it. Raises Refused."""
        trade = self.get(out_trade_no)
        if trade.status is not TradeStatus.WAIT_BUYER_PAY:
            raise Refused("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        self._close(trade)
        return trade

    def refund(self, out_trade_no: str, amount: Decimal, out_request_no: str) -> tuple[SimulatedTrade, bool]:
        """Refund yuan once per `out_request_no`; return the trade, and whether money moved now. Raises Refused."""
        trade = self.get(out_trade_no)
        if out_request_no in trade.refunds:
            if trade.refunds[out_request_no] != amount:
                raise Refused("ACQ.DISCORDANT_REPEAT_REQUEST", "that request was for another amount")
            return trade, False
        if trade.status is TradeStatus.TRADE_FINISHED:
            raise Refused("ACQ.TRADE_HAS_FINISHED", "交易已完结")
        if trade.status is not TradeStatus.TRADE_SUCCESS:
            raise Refused("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        if amount <= 0 or trade.refunded + amount > trade.cashier.total_amount:
            raise Refused("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限")
        trade.refunds[out_request_no] = amount
        if trade.refunded == trade.cashier.total_amount:
            self._close(trade)
        return trade, True

    def refund_in_console(self, out_trade_no: str, amount: Decimal | None) -> SimulatedTrade:
        """Refund yuan as the merchant does in Alipay's console, None for all that is left; return the trade.

        Raises Refused.
        """
        trade = self.get(out_trade_no)
        rest = trade.cashier.total_amount - trade.refunded
        number = f"{trade.trade_no}{len(trade.refunds) + 1:03}"
        return self.refund(out_trade_no, rest if amount is None else amount, number)[0]

    def _close(self, trade: SimulatedTrade) -> None:
        trade.status, trade.closed_at = TradeStatus.TRADE_CLOSED, self.clock.now()
