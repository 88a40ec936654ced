"""One link on the simulator's page: its state, its notifies with the shop's answers, its faults and its buttons."""

from html import escape

from lapse.gateways.alipay.trades import TradeStatus
from lapse.testing.alipay import fault_form
from lapse.testing.alipay.faults import Notifying
from lapse.testing.alipay.gateway import Alipay
from lapse.testing.alipay.html import tag
from lapse.testing.alipay.messages import MESSAGES
from lapse.testing.alipay.notifying import Sent
from lapse.testing.alipay.requests import write_time
from lapse.testing.alipay.trades import Cashier


def card(alipay: Alipay, cashier: Cashier, lang: str, *, alone: bool) -> str:
    """Return the HTML of one link; `alone` on a page of its own."""
    texts, number = MESSAGES[lang], cashier.out_trade_no
    trade = alipay.book.find(number)
    status = trade.status.value if trade else "over" if alipay.book.is_over(cashier) else "open"
    facts = {
        texts["for"]: escape(cashier.subject),
        texts["amount"]: f"¥{cashier.total_amount:.2f}",
        **({texts["refunded"]: f"¥{trade.refunded:.2f}"} if trade and trade.refunds else {}),
        texts["until"].rstrip("："): f"{write_time(cashier.time_expire)} {texts['zone']}",
    }
    notifies = [_notify(one, lang) for one in alipay.notifier.sent if one.out_trade_no == number]
    on = fault_form.summary(alipay.switches.on(number), lang)
    return tag(
        "article",
        "" if alone else tag("h3", tag("a", number, class_="code", href=f"/trade/{number}?lang={lang}")),
        tag("p", texts.get(f"is_{status}", status), class_="status"),
        tag("dl", *(tag("dt", name) + tag("dd", value) for name, value in facts.items())),
        tag("ul", *(notifies or [tag("li", texts["no_notifies"])]), class_="notifies"),
        tag("p", f"{texts['of_trade']}: {on}") if on and not alone else "",
        tag("div", *_buttons(alipay, cashier, status, lang, alone=alone), class_="buttons"),
        class_="panel",
        data_trade=number,
        data_status=status,
    )


def _buttons(alipay: Alipay, cashier: Cashier, status: str, lang: str, *, alone: bool) -> list[str]:
    texts, number = MESSAGES[lang], cashier.out_trade_no
    home = "" if alone else tag("input", type="hidden", name="home", value="1")

    def form(action: str, text: str, field: str = "") -> str:
        button = tag("button", text, class_="quiet", data_do=action)
        return tag("form", home, field, button, method="post", action=f"/trade/{number}/{action}?lang={lang}")

    buttons = [tag("a", texts["open_cashier"], href=f"/cashier/{cashier.token}?lang={lang}")]
    if status == "open":
        buttons.append(form("scan", texts["scan"]))
    if status in ("open", TradeStatus.WAIT_BUYER_PAY):
        buttons.append(form("pay", texts["pay"].replace("%", f"¥{cashier.total_amount:.2f}")))
    trade = alipay.book.find(number)
    if trade is not None and trade.status.paid:
        rest = f"{cashier.total_amount - trade.refunded:.2f}"
        hint = {"aria-label": texts["refund_amount"], "title": texts["refund_amount"], "placeholder": rest}
        buttons.append(form("refund", texts["refund"], tag("input", name="amount", inputmode="decimal", **hint)))
    if trade is not None:
        buttons.append(form("notify", texts["notify_again"]))
    return buttons


def _notify(sent: Sent, lang: str) -> str:
    how = "" if sent.how is Notifying.SEND else " " + tag("code", sent.how)
    none = MESSAGES[lang]["not_sent" if sent.how is Notifying.DROP else "no_answer"]
    answers = ", ".join(tag("q", escape(answer)) for answer in sent.answers) or none
    done = str(sent.done).lower()
    return tag("li", f"{sent.trade_status}{how}: {answers}", data_notify=sent.trade_status, data_done=done)
