"""The form of faults on the simulator's page, made from the table of faults: drawn, and read when it comes back."""

import re
from collections.abc import Mapping
from html import escape
from typing import Any

from lapse.testing.alipay.fault_values import CALLS, PREFIX, Calls, Charset, Choice, Flag, Seconds
from lapse.testing.alipay.faults import FAULTS, Fault
from lapse.testing.alipay.html import marked, tag
from lapse.testing.alipay.messages import MESSAGES
from lapse.testing.alipay.switches import Switch, read_value

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
COMMON_CHARSETS = ("gbk", "gb18030", "utf-8")


def draw(on: Mapping[str, Switch], lang: str, address: str, *, for_all: bool) -> str:
    """Return the HTML of the form that posts to `address`. `on` has the switches that are on."""
    texts = MESSAGES[lang]
    rows = [_row(fault, on.get(fault.name), lang, for_all=for_all) for fault in FAULTS.values()]
    times = tag("input", id="times", name="times", type="number", min="1", step="1", inputmode="numeric")
    rows.append(tag("div", tag("label", texts["times"], for_="times"), _does(texts["times_more"]), times, class_="row"))
    buttons = tag("button", texts["switch"], data_switch=True) + tag(
        "button", texts["reset"], class_="quiet", name="reset", value="1", data_reset=True
    )
    return tag(
        "form",
        *rows,
        tag("div", buttons, class_="buttons"),
        class_="faults",
        method="post",
        action=address,
        data_faults=True,
    )


def summary(on: Mapping[str, Switch], lang: str) -> str:
    """Return the HTML of what is on, "" if nothing is."""
    return " ".join(
        tag("code", f"{name}={escape(_words(switch.value))}{_left(switch, lang)}", data_on=name)
        for name, switch in on.items()
    )


def read(form: Mapping[str, list[str]], on: Mapping[str, Switch]) -> tuple[dict[str, object], int | str | None]:
    """Return the changes that a posted form makes, as JSON has them, and how often they come.

    Raises ValueError for a wrong value.
    """
    changes: dict[str, object] = {}
    for fault in FAULTS.values():
        given = _given(fault, [text for text in form.get(fault.name, []) if text])
        switch = on.get(fault.name)
        if read_value(fault.name, given) != (switch.value if switch else None):
            changes[fault.name] = given
    times = form.get("times", [""])[0]
    return changes, int(times) if times.isdecimal() else times or None


def _given(fault: Fault, texts: list[str]) -> object:
    """Return as JSON what a form has as texts. A text that is no value of the fault stays a text, to be refused."""
    if not texts:
        return None
    match fault.value:
        case Calls():
            return texts
        case Flag():
            return {"true": True, "false": False}.get(texts[0], texts[0])
        case Seconds():
            return float(texts[0]) if _NUMBER.fullmatch(texts[0]) else texts[0]
        case _:
            return texts[0]


def _row(fault: Fault, switch: Switch | None, lang: str, *, for_all: bool) -> str:
    texts, name = MESSAGES[lang], fault.name
    one_field = not isinstance(fault.value, Calls)
    label = tag("label", name, for_=name) if one_field else tag("span", name, class_="label")
    left = "" if switch is None else tag("b", _left(switch, lang))
    applies = tag("small", f"{texts['applies_to']} {fault.applies_to}")
    does = _does(f"{marked(fault.chinese if lang == 'zh' else fault.does)} {applies} {left}")
    off = texts["by_default" if for_all else "as_for_all"]
    control = _control(fault, None if switch is None else switch.value, off, lang)
    return tag("div", label, does, control, class_="row on" if switch else "row", data_fault=name)


def _control(fault: Fault, value: Any, off: str, lang: str) -> str:  # noqa: ANN401 - each fault has a type of its own
    name, texts, shown = fault.name, MESSAGES[lang], _words(value)
    match fault.value:
        case Choice(options):
            words = {word: f"{word}: {meaning[lang == 'zh']}".replace("`", "") for word, meaning in options.items()}
            return _select(name, {"": off} | words, shown)
        case Flag():
            return _select(name, {"": off, "true": texts["on"], "false": texts["off"]}, shown)
        case Calls():
            boxes = (
                tag("input", type="checkbox", name=name, value=call, checked=call in (value or ())) for call in CALLS
            )
            labels = (
                tag("label", box, f" {call.removeprefix(PREFIX)}") for box, call in zip(boxes, CALLS, strict=True)
            )
            return tag("div", *labels, class_="calls")
        case Seconds():
            number = {"type": "number", "min": "0", "step": "any", "inputmode": "decimal"}
            return tag("input", id=name, name=name, value=shown, placeholder=_words(fault.default), **number)
        case Charset():
            known = tag("datalist", *(tag("option", value=one) for one in COMMON_CHARSETS), id="charsets")
            return _text(fault, shown, list="charsets") + known
        case _:
            return _text(fault, shown)


def _text(fault: Fault, shown: str, **more: str) -> str:
    example = fault.value.can_be.rpartition("such as ")[2]
    kind = {"type": "text", "maxlength": "64", "autocomplete": "off", "spellcheck": "false"}
    return tag("input", id=fault.name, name=fault.name, value=shown, placeholder=example, **kind, **more)


def _select(name: str, options: Mapping[str, str], chosen: str) -> str:
    drawn = (tag("option", escape(text), value=word, selected=word == chosen) for word, text in options.items())
    return tag("select", *drawn, id=name, name=name)


def _does(content: str) -> str:
    return tag("p", content, class_="does")


def _left(switch: Switch, lang: str) -> str:
    return "" if switch.left is None else f" ({MESSAGES[lang]['left_of'].replace('%', str(switch.left))})"


def _words(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(str(one).removeprefix(PREFIX) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
