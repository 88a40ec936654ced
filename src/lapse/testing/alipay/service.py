"""The cashier's page: scan, pay, leave. The page names itself a simulator; only its button pays."""

import hashlib
from collections.abc import Callable
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lapse.gateways.alipay.trades import TradeStatus
from lapse.testing.alipay.keys import Signer, sign_notify
from lapse.testing.alipay.messages import MESSAGES, language
from lapse.testing.alipay.requests import write_time
from lapse.testing.alipay.trades import Book, Cashier, Refused, SimulatedTrade

PAGE = Template(files("lapse.testing.alipay").joinpath("page.html").read_text(encoding="utf-8"))
MODULES = 25
"""Squares in one line of the drawn code, which only looks like a QR code."""
EYE = 7


class CashierService:
    """Shows the page of each opened link, and carries out the button that the buyer presses.

    `on_paid` is called with each trade that was paid. `charset` returns the charset in which a buyer comes back.
    """

    def __init__(
        self,
        book: Book,
        on_paid: Callable[[SimulatedTrade], None],
        signer: Callable[[], Signer],
        charset: Callable[[Cashier], str],
        *,
        app_id: str,
        seller_id: str,
    ) -> None:
        self._book = book
        self._on_paid = on_paid
        self._signer = signer
        self._charset = charset
        self._identity = {"app_id": app_id, "auth_app_id": app_id, "seller_id": seller_id}

    async def home(self, request: Request) -> Response:
        """Return the start page, which explains the simulator."""
        texts = MESSAGES[language(request)]
        return _page(request, texts["home"], f"<p>{texts['home_more']}</p>", state="home")

    async def show(self, request: Request) -> Response:
        """Return the page of a link in its present state."""
        cashier = self._cashier(request)
        trade = self._book.find(cashier.out_trade_no)
        if trade is None:
            state = "over" if self._book.is_over(cashier) else "open"
        elif trade.status.paid:
            state = "paid"
        else:
            state = "over" if trade.status is TradeStatus.TRADE_CLOSED else "waiting"
        if "left" in request.query_params and state in ("open", "waiting"):
            state = "left"
        return self._show(request, cashier, state)

    async def press(self, request: Request) -> Response:
        """Scan, pay or leave, as the pressed button says; return where the browser goes next."""
        cashier = self._cashier(request)
        here = f"/cashier/{cashier.token}?lang={language(request)}"
        try:
            match request.path_params["action"]:
                case "scan":
                    self._book.scan(cashier)
                case "pay":
                    trade = self._book.pay(cashier)
                    self._on_paid(trade)
                    return RedirectResponse(self._return_address(trade) or here, 303)
                case "leave":
                    return RedirectResponse(f"{here}&left=1", 303)
                case _:
                    raise HTTPException(404)
        except Refused:
            trade_or_none = self._book.find(cashier.out_trade_no)
            paid = trade_or_none is not None and trade_or_none.status.paid
            return self._show(request, cashier, "paid" if paid else "over", status=409)
        return RedirectResponse(here, 303)

    def refusal(self, request: Request, refused: Refused) -> Response:
        """Return the page of a refused link, with Alipay's code."""
        body = f'<p class="code">{escape(refused.sub_code)}</p><p>{escape(refused.message)}</p>'
        return _page(request, MESSAGES[language(request)]["refused"], body, state="refused", status=400)

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
            body.append(_code(cashier.token))
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
        return _page(request, texts[state], "".join(body), state=state, status=status, form_to=shop)

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


def _page(request: Request, title: str, body: str, *, state: str, status: int = 200, form_to: str = "") -> Response:
    lang = language(request)
    texts = MESSAGES[lang]
    other = "en" if lang == "zh" else "zh"
    token = request.path_params.get(
        "token"
    )  # a button's address is not a page of its own, so the link names the cashier's page
    here = f"/cashier/{token}" if token else request.url.path
    text = PAGE.substitute(
        lang="zh-CN" if lang == "zh" else "en",
        title=escape(title),
        body=body,
        state=state,
        name=texts["name"],
        warning=texts["warning"],
        other=escape(f"{here}?{urlencode({**request.query_params, 'lang': other})}"),
        other_lang="zh-CN" if other == "zh" else "en",
        other_name=MESSAGES[other]["language"],
    )
    # A browser checks a form's redirect by form-action too, so the shop's own origin is allowed.
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self' {form_to}".rstrip()
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(text, status, headers)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def _code(token: str) -> str:
    """Return a picture that looks like a QR code."""
    bits = int.from_bytes(hashlib.shake_256(token.encode()).digest(MODULES * MODULES // 8 + 1), "big")
    far = MODULES - EYE
    squares = "".join(
        f"M{x} {y}h1v1h-1z"
        for y in range(MODULES)
        for x in range(MODULES)
        if bits >> (y * MODULES + x) & 1
        and not ((x <= EYE or x >= far - 1) and y <= EYE)
        and not (x <= EYE and y >= far - 1)
    )
    eyes = "".join(
        f"M{x} {y}h7v7h-7zM{x + 1} {y + 1}v5h5v-5zM{x + 2} {y + 2}h3v3h-3z" for x, y in ((0, 0), (far, 0), (0, far))
    )
    return (
        f'<svg class="picture" viewBox="-2 -2 {MODULES + 4} {MODULES + 4}" aria-hidden="true">'
        f'<path fill-rule="evenodd" d="{squares}{eyes}"/></svg>'
    )
