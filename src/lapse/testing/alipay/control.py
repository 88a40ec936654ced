"""The control, by which a test sets faults, refunds a trade, and reads what was notified: JSON over HTTP."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lapse.testing.alipay.faults import FAULTS, Notifying
from lapse.testing.alipay.gateway import Alipay
from lapse.testing.alipay.notifying import Sent
from lapse.testing.alipay.requests import NUMBER
from lapse.testing.alipay.switches import document
from lapse.testing.alipay.trades import Refused, SimulatedTrade

_YUAN = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")


class Control:
    """The addresses under /control/, for one simulator."""

    def __init__(self, alipay: Alipay) -> None:
        self._alipay = alipay

    async def trades(self, _request: Request) -> Response:
        """Return the trades with their notifies, as JSON."""
        return JSONResponse([_document(trade, self._alipay.notifier.sent) for trade in self._alipay.book.all()])

    async def faults(self, _request: Request) -> Response:
        """Return which faults are on, and which there are, as JSON."""
        return JSONResponse(self._faults() | {"known": {name: fault.value.can_be for name, fault in FAULTS.items()}})

    async def change_faults(self, request: Request) -> Response:
        """Switch faults for all trades, or of the trade in the address; return what is on, as JSON.

        With `?times=2`, the switched faults come twice.
        """
        times = request.query_params.get("times")
        try:
            changes = await _json(request)
            counted = None if times is None else int(times) if times.isdecimal() else times
            self._alipay.change_faults(changes, out_trade_no=_number(request), times=counted)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return JSONResponse(self._faults())

    async def reset_faults(self, request: Request) -> Response:
        """Switch off every fault, or every fault of the trade in the address; return what is still on, as JSON."""
        self._alipay.reset(_number(request))
        return JSONResponse(self._faults())

    async def rotate(self, request: Request) -> Response:
        """Sign with another key and certificate from now on; return 202. With `trusted` false, of another authority."""
        body = await _json(request)
        if self._alipay.certified is None:
            raise HTTPException(404, "the simulator has no certificates")
        self._alipay.certified.rotate(trusted=bool(body.get("trusted", True)))
        return JSONResponse({}, 202)

    async def refund(self, request: Request) -> Response:
        """Refund `amount` yuan of `out_trade_no` as in Alipay's console, without it all that is left; return 202."""
        body = await _json(request)
        try:
            self._alipay.refund_in_console(str(body.get("out_trade_no")), yuan(body.get("amount")))
        except (Refused, ValueError) as error:
            raise HTTPException(409, str(error)) from error
        return JSONResponse({}, 202)

    async def notify(self, request: Request) -> Response:
        """Send a notify of `out_trade_no` now, with the fields of `changes` replaced; return 202."""
        body = await _json(request)
        trade = self._alipay.book.find(str(body.get("out_trade_no")))
        if trade is None:
            raise HTTPException(404, "there is no such trade")
        changes = {str(name): str(value) for name, value in dict(body.get("changes") or {}).items()}
        self._alipay.notifier.send(trade, changes)
        return JSONResponse({}, 202)

    def _faults(self) -> dict[str, Any]:
        switches = self._alipay.switches

        def documents(number: str) -> dict[str, Any]:
            return {name: document(switch) for name, switch in switches.on(number).items()}

        return {"for_all": documents(""), "by_trade": {number: documents(number) for number in switches.numbers}}


def yuan(given: object) -> Decimal | None:
    """Return the amount, or None for None. Raises ValueError for what is no amount."""
    if given is None:
        return None
    if not _YUAN.fullmatch(str(given)):
        raise ValueError(f"{given!r} is not an amount in yuan, such as 7.00")
    return Decimal(str(given))


def _number(request: Request) -> str:
    """Return the number of the trade in the address, "" without one. Raises ValueError."""
    number: str = request.path_params.get("number", "")
    if number and not NUMBER.fullmatch(number):
        raise HTTPException(400, "out_trade_no must be 1 to 64 letters, digits or underscores")
    return number


async def _json(request: Request) -> Mapping[str, Any]:
    # A foreign web page cannot send this type without a preflight request, which is refused.
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "send application/json")
    try:
        body = await request.json()
    except ValueError as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "send an object")
    return body


def _document(trade: SimulatedTrade, sent: list[Sent]) -> dict[str, Any]:
    number = trade.cashier.out_trade_no
    return {
        "out_trade_no": number,
        "trade_no": trade.trade_no,
        "trade_status": trade.status.value,
        "total_amount": f"{trade.cashier.total_amount:.2f}",
        "refunded": f"{trade.refunded:.2f}",
        "time_expire": trade.cashier.time_expire.isoformat(),
        "notifies": [
            {"trade_status": one.trade_status, "how": one.how, "answers": one.answers, "done": one.done}
            for one in sent
            if one.out_trade_no == number and one.how is not Notifying.DROP
        ],
    }
