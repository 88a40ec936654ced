"""The gateway's address of the simulator: each call is checked, carried out, and answered with a signature."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from lapse.engine.clock import Clock
from lapse.gateways.alipay.charsets import raw_fields
from lapse.gateways.alipay.client import DOWNLOAD
from lapse.gateways.alipay.keys import read_private_key, read_public_key
from lapse.testing.alipay import requests
from lapse.testing.alipay.authority import Authority
from lapse.testing.alipay.certified import Certified
from lapse.testing.alipay.faults import Answers, Notifying
from lapse.testing.alipay.keys import Signer
from lapse.testing.alipay.notifying import Notifier
from lapse.testing.alipay.requests import CLOSE, PAGE_PAY, QUERY, REFUND, REFUND_QUERY, Call
from lapse.testing.alipay.service import CashierService
from lapse.testing.alipay.switches import Switches
from lapse.testing.alipay.trades import Book, Cashier, Refused, SimulatedTrade

LONGEST_BODY = 1 << 20
REFUSALS = {
    "not_exist": ("ACQ.TRADE_NOT_EXIST", "交易不存在"),
    "system_error": ("ACQ.SYSTEM_ERROR", "系统错误"),
    "unavailable": ("isp.unknow-error", "服务暂不可用", "20000"),
}
"""The faults by which a call is not done, and the answer of each."""
APP_ID = "9021000100000001"
SELLER_ID = "2088100000000001"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """The settings of the simulator: Alipay for one app of one seller.

    `app_public_key` is the shop's, `private_key` Alipay's own, both PEM or bare base64. `pace` is a factor on the
    pauses between the eight sendings of a notify: 1 is 25 hours in all, 0.001 is a minute and a half.

    With an `authority`, both sides have certificates from it, as in Alipay's mode of certificates. `public_url` is the
    address under which a phone reaches the simulator, for its codes; "" if no phone does.
    """

    app_public_key: str
    private_key: str = field(repr=False)
    app_id: str = APP_ID
    seller_id: str = SELLER_ID
    pace: float = 1.0
    authority: Authority | None = None
    public_url: str = ""


class Alipay:
    """The gateway's address: checks each call, carries it out, signs the answer."""

    def __init__(self, settings: SimulatorSettings, clock: Clock) -> None:
        self.settings = settings
        self.switches = Switches()
        self.book = Book(clock, lambda number: self.switches.value("overtime", number))
        self._shops_key = read_public_key(settings.app_public_key, "app_public_key")
        identity = {"app_id": settings.app_id, "seller_id": settings.seller_id}
        self.certified = (
            Certified(settings.authority, app=settings.app_public_key, private_key=settings.private_key, **identity)
            if settings.authority
            else None
        )
        self._plain = Signer(read_private_key(settings.private_key, "private_key"))
        self.notifier = Notifier(self.signer, self.book, self.switches, **identity, pace=settings.pace)
        self.cashier = CashierService(
            self.book, self.pay, self.signer, self._charset, public_url=settings.public_url, **identity
        )

    def change_faults(self, changes: Mapping[str, object], *, out_trade_no: str = "", times: object = None) -> None:
        """Switch faults; see `Switches.change`. Raises ValueError."""
        self.switches.change(changes, out_trade_no=out_trade_no, times=times)
        if "notify" in changes:
            self.notifier.release(out_trade_no)

    def reset(self, out_trade_no: str = "") -> None:
        """Switch off every fault of one trade; without a number, every fault there is."""
        self.switches.reset(out_trade_no)
        self.notifier.release(out_trade_no)

    def signer(self) -> Signer:
        """Return what Alipay signs with at present."""
        return self.certified.signer if self.certified else self._plain

    def pay(self, cashier: Cashier) -> SimulatedTrade:
        """Let the buyer pay, and begin to notify the shop; return the trade. Raises Refused."""
        trade = self.book.pay(cashier)
        self.notifier.notify(trade)
        return trade

    def refund_in_console(self, out_trade_no: str, amount: Decimal | None) -> None:
        """Refund yuan as the merchant does in Alipay's console, None for all that is left. Raises Refused."""
        self.notifier.notify(self.book.refund_in_console(out_trade_no, amount))

    def _charset(self, cashier: Cashier) -> str:
        return self.switches.use("charset", cashier.out_trade_no) or cashier.charset

    async def gateway(self, request: Request) -> Response:
        """Return the answer to one call, or a redirect to the cashier for a page-pay link."""
        parameters = await _raw_parameters(request)
        method, number, hang = parameters.get("method", ""), "", 0.0
        try:
            certificates = self.certified.requests_fields if self.certified else {}
            call = requests.read_call(
                parameters, app_id=self.settings.app_id, key=self._shops_key, certificates=certificates
            )
            if call.method == PAGE_PAY:
                return await self._open(requests.read_cashier(call))
            number = str(call.content.get("out_trade_no", ""))
            hang, refused_by_fault = self._faults_of(call.method, number)
            if refused_by_fault:
                raise refused_by_fault
            body = {"code": "10000", "msg": "Success", **self._do(call)}
        except Refused as refused:
            if method == PAGE_PAY:
                return self.cashier.refusal(request, refused)
            body = requests.refusal(refused)
        # Signed before the delay: the answer reports the state at the time of the call's effect.
        charset = self.switches.use("charset", number) or requests.charset_of(parameters)
        signer = self.signer()
        key = self.notifier.forger if self.switches.use("forge", number) else signer.key
        content = requests.answer(method, body, key, signer.fields, charset)
        form = Answers(self.switches.use("answers", number))
        await asyncio.sleep(hang)
        return _response(content, form, charset)

    async def _open(self, cashier: Cashier) -> Response:
        cashier = self.book.open(cashier)
        number = cashier.out_trade_no
        fresh = self.book.find(number) is None and not self.book.is_over(cashier)
        if fresh and self.switches.use("paid_at_once", number):
            self.book.scan(cashier)
            trade = self.book.pay(cashier)
            sent = self.notifier.notify(trade)
            if sent is not None and sent.how in (Notifying.SEND, Notifying.DOUBLE):
                await sent.answered.wait()
        return RedirectResponse(f"/cashier/{cashier.token}", 303)

    def _faults_of(self, method: str, number: str) -> tuple[float, Refused | None]:
        """Return the seconds by which the answer is late, and the refusal of a call that must not be done."""
        undone = self.switches.hits("hanging_undone", method, number)
        hangs = undone or self.switches.hits("hanging", method, number)
        hang = self.switches.value("hang", number) if hangs else 0.0
        if undone:
            return hang, Refused(*REFUSALS["system_error"])
        hit = next((fault for fault in REFUSALS if self.switches.hits(fault, method, number)), None)
        return hang, Refused(*REFUSALS[hit]) if hit else None

    def _do(self, call: Call) -> dict[str, str]:
        if call.method == DOWNLOAD and self.certified:
            return self.certified.download(call.content.get("alipay_cert_sn"))
        number = requests.read_number(call)
        if call.method == CLOSE:
            if self.book.find(number) is None and self.switches.use("close_blocks", number):
                self.book.block(number)
            trade = self.book.close(number)
            return {"out_trade_no": number, "trade_no": trade.trade_no}
        if call.method == REFUND:
            return self._refund(call, number)
        if call.method == REFUND_QUERY:
            return self._refund_query(call, number)
        if call.method != QUERY:
            raise Refused("isv.invalid-method", "不存在的方法名", requests.INVALID)
        trade = self.book.get(number)
        wrong = self.switches.use("notify_amount", number)
        amount = trade.cashier.total_amount if wrong is None else wrong
        state = {"trade_status": trade.status.value, "total_amount": f"{amount:.2f}"}
        paid = {"send_pay_date": requests.write_time(trade.paid_at)} if trade.paid_at else {}
        return {"out_trade_no": number, "trade_no": trade.trade_no, **state, **paid, "subject": trade.cashier.subject}

    def _refund(self, call: Call, number: str) -> dict[str, str]:
        if code := self.switches.use("refund_refused", number):
            raise Refused(code, "the simulator was set to refuse refunds")
        amount = requests.read_amount(call, "refund_amount")
        # Without a number of its own, a refund has the trade's.
        own = "out_request_no" if "out_request_no" in call.content else "out_trade_no"
        trade, moved = self.book.refund(number, amount, requests.read_number(call, own))
        if moved:
            self.notifier.notify(trade)
        refund = {"fund_change": "Y" if moved else "N", "refund_fee": f"{trade.refunded:.2f}"}
        return {"out_trade_no": number, "trade_no": trade.trade_no, **refund}

    def _refund_query(self, call: Call, number: str) -> dict[str, str]:
        trade = self.book.get(number)
        refund = requests.read_number(call, "out_request_no")
        if refund not in trade.refunds:
            return {}
        return {
            "out_trade_no": number,
            "trade_no": trade.trade_no,
            "out_request_no": refund,
            "total_amount": f"{trade.cashier.total_amount:.2f}",
            "refund_amount": f"{trade.refunds[refund]:.2f}",
            "refund_status": "REFUND_SUCCESS",
        }


def _response(content: bytes, form: Answers, charset: str) -> Response:
    media_type = f"text/html;charset={charset}"  # Alipay's own, though the answers are JSON
    if form is Answers.ENDLESS:
        return StreamingResponse(_blanks(), media_type=media_type)
    half = content[: len(content) // 2]
    contents = {Answers.EMPTY: b"", Answers.GARBAGE: b"<html><h1>502</h1></html>", Answers.HALF: half}
    return Response(contents.get(form, content), headers={"Content-Type": media_type})


async def _blanks() -> AsyncIterator[bytes]:
    while True:
        yield b" "
        await asyncio.sleep(0.05)


async def _raw_parameters(request: Request) -> dict[str, str]:
    """Return the fields of the query and of the form, each byte as one character; the form's replace the query's."""
    body = await request.body()
    if len(body) > LONGEST_BODY:
        raise HTTPException(413)
    form = raw_fields(body) if request.method == "POST" else {}
    return raw_fields(request.scope["query_string"]) | form
