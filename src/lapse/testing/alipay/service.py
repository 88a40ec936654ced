"""The cashier's page: scan, pay, leave. The page names itself a simulator; only its button pays."""

from collections.abc import Callable
from contextlib import suppress
from html import escape
from urllib.parse import urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lapse.gateways.alipay.trades import TradeStatus
from lapse.testing.alipay.keys import Signer, sign_notify
from lapse.testing.alipay.messages import MESSAGES, language
from lapse.testing.alipay.pages import render
from lapse.testing.alipay.qr_code import qr_code
from lapse.testing.alipay.requests import write_time
from lapse.testing.alipay.trades import Book, Cashier, Refused, SimulatedTrade


class CashierService:
    """Shows the page of each opened link, and carries out the button that the buyer presses.

    `pay` lets the buyer pay a link. `charset` returns the charset in which a buyer comes back. `public_url` is the
    address under which a phone reaches the simulator, "" if no phone does.
    """

    def __init__(
        self,
        book: Book,
        pay: Callable[[Cashier], SimulatedTrade],
        signer: Callable[[], Signer],
        charset: Callable[[Cashier], str],
        *,
        public_url: str,
        app_id: str,
        seller_id: str,
    ) -> None:
        self._book = book
        self._pay = pay
        self._public_url = public_url
        self._signer = signer
        self._charset = charset
        self._identity = {"app_id": app_id, "auth_app_id": app_id, "seller_id": seller_id}

    async def show(self, request: Request) -> Response:
        """Return the page of a link in its present state."""
        cashier = self._cashier(request)
        state = self._state(cashier)
        if "left" in request.query_params and state in ("open", "waiting"):
            state = "left"
        return self._show(request, cashier, state)

    async def follow_code(self, request: Request) -> Response:
        """Scan the link, as a phone does that follows the code of its page; return where the phone's browser goes."""
        cashier = self._cashier(request)
        with suppress(Refused):  # the page says that the link has ended
            self._book.scan(cashier)
        return RedirectResponse(f"/cashier/{cashier.token}?lang={language(request)}", 303)

    async def press(self, request: Request) -> Response:
        """Scan, pay or leave, as the pressed button says; return where the browser goes next."""
        cashier = self._cashier(request)
        here = f"/cashier/{cashier.token}?lang={language(request)}"
        try:
            match request.path_params["action"]:
                case "scan":
                    self._book.scan(cashier)
                case "pay":
                    trade = self._pay(cashier)
                    return RedirectResponse(self._return_address(trade) or here, 303)
                case "leave":
                    return RedirectResponse(f"{here}&left=1", 303)
                case _:
                    raise HTTPException(404)
        except Refused:
            return self._show(request, cashier, self._state(cashier), status=409)
        return RedirectResponse(here, 303)

    def refusal(self, request: Request, refused: Refused) -> Response:
        """Return the page of a refused link, with Alipay's code."""
        body = f'<p class="code">{escape(refused.sub_code)}</p><p>{escape(refused.message)}</p>'
        return render(request, MESSAGES[language(request)]["refused"], body, state="refused", status=400)

    def _state(self, cashier: Cashier) -> str:
        trade = self._book.find(cashier.out_trade_no)
        if trade is None:
            return "over" if self._book.is_over(cashier) else "open"
        if trade.status is TradeStatus.TRADE_CLOSED:
            return "refunded" if trade.refunds else "over"
        return "paid" if trade.status.paid else "waiting"

    def _cashier(self, request: Request) -> Cashier:
        cashier = self._book.cashiers.get(request.path_params["token"])
        if cashier is None:
            raise HTTPException(404, "the simulator does not know this link; open the link from the shop again")
        return cashier

    def _show(self, request: Request, cashier: Cashier, state: str, *, status: int = 200) -> Response:
        lang = language(request)
        texts = MESSAGES[lang]
        shop = _origin(cashier.return_url)
        left = max((cashier.time_expire - self._book.clock.now()).total_seconds(), 0.0)
        until = write_time(cashier.time_expire)
        body = [
            (
                f"<dl><dt>{texts['for']}</dt><dd>{escape(cashier.subject)}</dd>"
                f'<dt>{texts["number"]}</dt><dd class="code">{escape(cashier.out_trade_no)}</dd></dl>'
            ),
            f'<p class="amount"><small>¥</small>{cashier.total_amount:.2f}</p>',
        ]
        if state in ("open", "waiting"):
            # After its end, a page that counts down would load itself again and again: the link may still be open.
            counter = f' <span data-seconds="{left:.1f}" data-words="{texts["seconds"]}"></span>' if left else ""
            body.append(f'<p class="until">{texts["until"]} <time>{until}</time> {texts["zone"]}{counter}</p>')
        if state == "open":
            body.append(qr_code(request, f"/cashier/{cashier.token}/code?lang={lang}", self._public_url))
        body.append(f'<p class="say" role="status">{texts[state + "_more"]}</p><div class="actions">')
        actions = {"open": ("scan", "leave"), "waiting": ("pay", "leave")}.get(state, ())
        for action in actions:
            where = f"/cashier/{cashier.token}/{action}?lang={lang}"
            label = texts[action].replace("%", f"¥{cashier.total_amount:.2f}")
            body.append(
                f'<form method="post" action="{where}"><button class="{action}" data-{action}>{label}</button></form>'
            )
        if state == "left":
            body.append(
                f'<a class="button" href="/cashier/{cashier.token}?lang={lang}" data-again>{texts["again"]}</a>'
            )
        if state not in ("open", "waiting"):
            trade = self._book.find(cashier.out_trade_no)
            back = (self._return_address(trade) if state == "paid" and trade else "") or (shop and f"{shop}/")
            body.append(f'<a class="button quiet" href="{escape(back)}" data-back>{texts["back"]}</a>' if back else "")
        body.append("</div>")
        return render(
            request,
            texts[state],
            "".join(body),
            state=state,
            status=status,
            form_to=shop,
            here=f"/cashier/{cashier.token}",
        )

    def _return_address(self, trade: SimulatedTrade) -> str:
        """Return the signed address to which Alipay sends the buyer after paying; "" if the link names none."""
        cashier = trade.cashier
        if not cashier.return_url:
            return ""
        charset = self._charset(cashier)
        parameters = {
            "charset": charset,
            "method": "alipay.trade.page.pay.return",
            "out_trade_no": cashier.out_trade_no,
            "trade_no": trade.trade_no,
            "total_amount": f"{cashier.total_amount:.2f}",
            **self._identity,
            **self._signer().fields,
            "sign_type": "RSA2",
            "timestamp": write_time(self._book.clock.now()),
            "version": "1.0",
        }
        separator = "&" if urlsplit(cashier.return_url).query else "?"
        return (
            f"{cashier.return_url}{separator}{urlencode(sign_notify(parameters, self._signer().key), encoding=charset)}"
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
