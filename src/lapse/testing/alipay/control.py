"""The control, by which a test, or a person, sets faults, refunds a trade, and reads what was notified."""

from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lapse.testing.alipay.gateway import Alipay
from lapse.testing.alipay.trades import Refused, SimulatedTrade


class Control:
    """The addresses under /control/, for one simulator."""

    def __init__(self, alipay: Alipay) -> None:
        self._alipay = alipay

    async def trades(self, _request: Request) -> Response:
        """Return the trades with their notifies, as JSON."""
        sent = [asdict(one) for one in self._alipay.notifier.sent]
        return JSONResponse([_document(trade, sent) for trade in self._alipay.book.all()])

    async def change_faults(self, request: Request) -> Response:
        """Change some faults; return all of them, as JSON."""
        try:
            self._alipay.faults = self._alipay.faults.changed(await _json(request))
            self._alipay.book.overtime = self._alipay.faults.overtime
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return JSONResponse(asdict(self._alipay.faults) | {"notify_amount": str(self._alipay.faults.notify_amount)})

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
            amount = None if body.get("amount") is None else Decimal(str(body["amount"]))
            trade = self._alipay.book.refund_in_console(str(body.get("out_trade_no")), amount)
        except (Refused, InvalidOperation) as error:
            raise HTTPException(409, str(error)) from error
        self._alipay.notify(trade)
        return JSONResponse({}, 202)

    async def notify(self, request: Request) -> Response:
        """Send a notify of `out_trade_no` now, with the fields of `changes` replaced; return 202."""
        body = await _json(request)
        trade = self._alipay.book.find(str(body.get("out_trade_no")))
        if trade is None:
            raise HTTPException(404, "there is no such trade")
        changes = {str(name): str(value) for name, value in dict(body.get("changes") or {}).items()}
        self._alipay.notifier.notify(trade, self._alipay.faults, changes)
        return JSONResponse({}, 202)


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


def _document(trade: SimulatedTrade, sent: list[dict[str, Any]]) -> dict[str, Any]:
    number = trade.cashier.out_trade_no
    return {
        "out_trade_no": number,
        "trade_no": trade.trade_no,
        "trade_status": trade.status.value,
        "total_amount": f"{trade.cashier.total_amount:.2f}",
        "refunded": f"{trade.refunded:.2f}",
        "time_expire": trade.cashier.time_expire.isoformat(),
        "notifies": [one for one in sent if one["out_trade_no"] == number],
    }
