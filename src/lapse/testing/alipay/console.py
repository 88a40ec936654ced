"""The simulator's own page: the links and trades, what was notified, which faults are on, and a button for each action.

It is for a developer at `make run` and for a test that was stopped. It works without a script.
"""

from html import escape
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lapse.testing.alipay import fault_form
from lapse.testing.alipay.control import yuan
from lapse.testing.alipay.gateway import Alipay
from lapse.testing.alipay.html import tag
from lapse.testing.alipay.messages import MESSAGES, language
from lapse.testing.alipay.pages import render
from lapse.testing.alipay.requests import NUMBER
from lapse.testing.alipay.trade_card import card
from lapse.testing.alipay.trades import Refused

MOST_LISTED = 50


class Console:
    """The pages / and /trade/NUMBER, and their buttons, for one simulator."""

    def __init__(self, alipay: Alipay) -> None:
        self._alipay = alipay

    async def home(self, request: Request) -> Response:
        """Return the page with all links, the newest first, and the faults for all trades."""
        return self._page(request, "")

    async def trade(self, request: Request) -> Response:
        """Return the page of one number with its faults, which it can have before its link is opened."""
        return self._page(request, _number(request))

    async def change_faults(self, request: Request) -> Response:
        """Switch the faults for all trades, or of one trade, as the posted form says; return where the browser goes."""
        form = await _form(request)
        number = _number(request) if "number" in request.path_params else ""
        try:
            if "reset" in form:
                self._alipay.reset(number)
            else:
                changes, times = fault_form.read(form, self._alipay.switches.on(number))
                self._alipay.change_faults(changes, out_trade_no=number, times=times)
        except ValueError as error:
            return self._page(request, number, str(error), 400)
        return RedirectResponse(_address(request, f"/trade/{number}" if number else "/"), 303)

    async def press(self, request: Request) -> Response:
        """Scan, pay, refund, or send a notify, as the pressed button says; return where the browser goes."""
        form, number, alipay = await _form(request), _number(request), self._alipay
        cashier = alipay.book.cashier_of(number)
        if cashier is None:
            raise HTTPException(404, "this link was not opened; open the link from the shop")
        try:
            match request.path_params["action"]:
                case "scan":
                    alipay.book.scan(cashier)
                case "pay":
                    alipay.book.scan(cashier)
                    alipay.pay(cashier)
                case "refund":
                    alipay.refund_in_console(number, yuan(form.get("amount", [""])[0] or None))
                case "notify":
                    alipay.notifier.send(alipay.book.get(number), {})
                case _:
                    raise HTTPException(404)
        except (Refused, ValueError) as error:
            return self._page(request, number, str(error), 409)
        return RedirectResponse(_address(request, "/" if "home" in form else f"/trade/{number}"), 303)

    def _page(self, request: Request, number: str, message: str = "", status: int = 200) -> Response:
        """Return the page of a trade, or the one of all trades; `message` says why a button did nothing."""
        return self._trade(request, number, message, status) if number else self._home(request, message, status)

    def _home(self, request: Request, message: str, status: int) -> Response:
        lang = language(request)
        texts, alipay = MESSAGES[lang], self._alipay
        opened = list(alipay.book.cashiers.values())[::-1]
        cards = [card(alipay, cashier, lang, alone=False) for cashier in opened[:MOST_LISTED]]
        more = texts["more"].replace("%", str(len(opened) - MOST_LISTED)) if len(opened) > MOST_LISTED else ""
        known = {cashier.out_trade_no for cashier in opened}
        early = [number for number in alipay.switches.numbers if number not in known]
        links = " ".join(tag("a", one, class_="code", href=f"/trade/{one}?lang={lang}") for one in early)
        body = (
            _message(message),
            tag("p", texts["home_more"]),
            tag("section", *self._faults(lang, ""), class_="panel", data_for_all=True),
            tag(
                "section",
                tag("h2", texts["trades"]),
                *(cards or [tag("p", texts["none"])]),
                tag("p", more) if more else "",
                tag("p", f"{texts['early']} {links}") if links else "",
                data_live=True,
            ),
        )
        return render(request, texts["home"], "".join(body), state="console", status=status, script="console")

    def _trade(self, request: Request, number: str, message: str, status: int) -> Response:
        lang = language(request)
        texts = MESSAGES[lang]
        cashier = self._alipay.book.cashier_of(number)
        shown = card(self._alipay, cashier, lang, alone=True) if cashier else tag("p", texts["not_opened"])
        body = (
            _message(message),
            tag("p", tag("a", texts["all_trades"], href=f"/?lang={lang}", data_home=True)),
            tag("section", shown, data_live=True),
            tag("section", *self._faults(lang, number), class_="panel", data_of_trade=True),
        )
        title, here = f"{texts['trade']} {tag('span', number, class_='code')}", f"/trade/{number}"
        return render(request, title, "".join(body), state="console", status=status, script="console", here=here)

    def _faults(self, lang: str, number: str) -> tuple[str, str]:
        """Return the HTML of a heading, and of the faults of a trade, or of those for all trades."""
        texts, on = MESSAGES[lang], self._alipay.switches.on(number)
        address = f"/trade/{number}/faults?lang={lang}" if number else f"/faults?lang={lang}"
        shown = tag("summary", fault_form.summary(on, lang) or texts["no_faults"])
        form = fault_form.draw(on, lang, address, for_all=not number)
        heading = tag("h2", texts["of_trade" if number else "for_all"])
        return heading, tag("details", shown, form, open=bool(number))


def _message(text: str) -> str:
    return tag("p", escape(text), class_="message", role="alert") if text else ""


def _address(request: Request, path: str) -> str:
    return f"{path}?lang={language(request)}"


def _number(request: Request) -> str:
    number: str = request.path_params["number"]
    if not NUMBER.fullmatch(number):
        raise HTTPException(404, "a number has 1 to 64 letters, digits or underscores")
    return number


async def _form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form that this page has posted. A form of another site is refused."""
    origin = request.headers.get("origin")  # a test, which is no browser, has none
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "this form was not sent by the simulator's own page")
    return parse_qs((await request.body()).decode(errors="replace"), keep_blank_values=True)
