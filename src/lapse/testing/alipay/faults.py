"""The table of the faults that the simulator can have. The control's checks, the page and the docs are made from it.

Every fault is off unless it is switched on, for all trades or for one trade. See `Switches`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from lapse.testing.alipay.fault_values import Calls, Charset, Choice, Flag, Seconds, Text, Value, Yuan


class Notifying(StrEnum):
    """How a notify is sent: the values of the fault `notify`."""

    SEND = "send"
    DROP = "drop"
    DOUBLE = "double"
    DELAY = "delay"
    REORDER = "reorder"


class Answers(StrEnum):
    """The form in which the gateway's address answers a call: the values of the fault `answers`."""

    RIGHT = "right"
    EMPTY = "empty"
    GARBAGE = "garbage"
    HALF = "half"
    ENDLESS = "endless"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row: what the fault does, in English and in Chinese, to what it applies, its value, and the value when off.

    `once` names one use of a fault that can be counted. "" is for a fault that cannot: it holds until it is changed.
    """

    name: str
    does: str
    chinese: str
    applies_to: str
    value: Value
    default: object
    once: str = "a notify"


EACH_CALL = "query, close, refund, refund query"
_TABLE = (
    Fault(
        name="notify",
        does="How a notify is sent.",
        chinese="异步通知如何发送。",
        applies_to="notify",
        value=Choice(
            {
                Notifying.SEND: ("at once", "立即发送"),
                Notifying.DROP: ("never", "从不发送"),
                Notifying.DOUBLE: ("twice at the same moment", "同一时刻发送两次"),
                Notifying.DELAY: ("`notify_delay` seconds later", "推迟 `notify_delay` 秒"),
                Notifying.REORDER: (
                    "after the trade’s next notify was answered, or when this fault is changed",
                    "等该交易的下一条通知得到应答后，或更改此故障时",
                ),
            }
        ),
        default=Notifying.SEND,
    ),
    Fault(
        name="notify_delay",
        does="The delay of a notify that `notify` delays.",
        chinese="`notify` 为 delay 时推迟的时间。",
        applies_to="notify",
        value=Seconds(),
        default=5.0,
        once="",
    ),
    Fault(
        name="notify_amount",
        does="Notifies and queries report this amount instead of the true one.",
        chinese="通知和查询返回此金额，而非真实金额。",
        applies_to="notify, query",
        value=Yuan(),
        default=None,
        once="a notify or a query",
    ),
    Fault(
        name="notify_seller",
        does="Notifies name this `seller_id`, rightly signed.",
        chinese="通知带有此 `seller_id`，签名正确。",
        applies_to="notify",
        value=Text("2088000000000000"),
        default="",
    ),
    Fault(
        name="notify_app",
        does="Notifies name this `app_id`, rightly signed.",
        chinese="通知带有此 `app_id`，签名正确。",
        applies_to="notify",
        value=Text("2021000000000000"),
        default="",
    ),
    Fault(
        name="notify_forged",
        does="Another key than Alipay’s signs notifies.",
        chinese="通知由支付宝以外的密钥签名。",
        applies_to="notify",
        value=Flag(),
        default=False,
    ),
    Fault(
        name="paid_at_once",
        does="Opening the link pays it. The shop has answered the notify before the buyer sees a page, "
        "so its order may not be committed yet.",
        chinese="打开链接即付款。买家看到页面之前，商店已应答通知，此时订单可能尚未提交。",
        applies_to="link",
        value=Flag(),
        default=False,
        once="a link that is opened",
    ),
    Fault(
        name="overtime",
        does="`time_expire` is ignored: a link can be paid after its end.",
        chinese="忽略 `time_expire`：链接过期后仍可付款。",
        applies_to="link",
        value=Flag(),
        default=False,
        once="",
    ),
    Fault(
        name="close_blocks",
        does="A close before the scan blocks the link, although its answer is ACQ.TRADE_NOT_EXIST as ever. "
        "Without this fault the link can still be scanned and paid.",
        chinese="扫码前的关单会使链接失效，但仍应答 ACQ.TRADE_NOT_EXIST。关闭此故障时，链接仍可扫码付款。",
        applies_to="close",
        value=Flag(),
        default=False,
        once="a close before the scan",
    ),
    Fault(
        name="not_exist",
        does="These calls do nothing and answer ACQ.TRADE_NOT_EXIST, also of a trade that is paid.",
        chinese="这些调用不生效，并应答 ACQ.TRADE_NOT_EXIST，即使交易已付款。",
        applies_to=EACH_CALL,
        value=Calls(),
        default=(),
        once="a call",
    ),
    Fault(
        name="system_error",
        does="These calls do nothing and answer ACQ.SYSTEM_ERROR.",
        chinese="这些调用不生效，并应答 ACQ.SYSTEM_ERROR。",
        applies_to=EACH_CALL,
        value=Calls(),
        default=(),
        once="a call",
    ),
    Fault(
        name="unavailable",
        does="These calls do nothing and answer code 20000.",
        chinese="这些调用不生效，并应答代码 20000。",
        applies_to=EACH_CALL,
        value=Calls(),
        default=(),
        once="a call",
    ),
    Fault(
        name="hanging",
        does="These calls do at once what they should, and answer after `hang` seconds.",
        chinese="这些调用立即生效，但在 `hang` 秒后才应答。",
        applies_to=EACH_CALL,
        value=Calls(),
        default=(),
        once="a call",
    ),
    Fault(
        name="hanging_undone",
        does="These calls do nothing, and answer ACQ.SYSTEM_ERROR after `hang` seconds.",
        chinese="这些调用不生效，并在 `hang` 秒后应答 ACQ.SYSTEM_ERROR。",
        applies_to=EACH_CALL,
        value=Calls(),
        default=(),
        once="a call",
    ),
    Fault(
        name="hang",
        does="How long the calls of `hanging` and `hanging_undone` hang.",
        chinese="`hanging` 与 `hanging_undone` 的调用挂起多久。",
        applies_to=EACH_CALL,
        value=Seconds(),
        default=30.0,
        once="",
    ),
    Fault(
        name="refund_refused",
        does="Every refund is refused with this sub-code.",
        chinese="所有退款均以此子代码被拒绝。",
        applies_to="refund",
        value=Text("ACQ.SELLER_BALANCE_NOT_ENOUGH"),
        default="",
        once="a refund",
    ),
    Fault(
        name="charset",
        does="The charset of answers, notifies and the return; empty is that of the shop’s call.",
        chinese="应答、通知和同步返回的字符集；留空则与商店的调用相同。",
        applies_to=f"{EACH_CALL}, notify, return",
        value=Charset(),
        default="",
        once="a message of Alipay",
    ),
    Fault(
        name="unnamed",
        does="Notifies do not name the certificate that Alipay signed with.",
        chinese="通知不注明支付宝签名所用的证书。",
        applies_to="notify",
        value=Flag(),
        default=False,
    ),
    Fault(
        name="forge",
        does="Another key than Alipay’s signs answers.",
        chinese="应答由支付宝以外的密钥签名。",
        applies_to=EACH_CALL,
        value=Flag(),
        default=False,
        once="a call",
    ),
    Fault(
        name="answers",
        does="The form of an answer.",
        chinese="应答的形式。",
        applies_to=EACH_CALL,
        value=Choice(
            {
                Answers.RIGHT: ("as it should be", "正确"),
                Answers.EMPTY: ("no content", "没有内容"),
                Answers.GARBAGE: ("an HTML page, as a proxy sends it", "HTML 页面，如同代理服务器所发"),
                Answers.HALF: ("cut in the middle", "从中间截断"),
                Answers.ENDLESS: ("blanks, one by one, and no end", "不断发送空格，永不结束"),
            }
        ),
        default=Answers.RIGHT,
        once="a call",
    ),
)
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _TABLE}
"""The faults by name, in the order of the docs and of the page."""
