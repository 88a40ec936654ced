"""The table of the Alipay simulator's faults, made from the table that the simulator itself uses."""

import json

from lapse.testing.alipay import FAULTS, Fault
from lapse.testing.alipay.fault_values import Choice


def fault_table() -> str:
    """Return a table with a row for each fault: what it does, to what it applies, its values, and what one use is."""
    lines = [
        "| fault | what it does | applies to | value (when off) | one use, where it can be counted |",
        "| --- | --- | --- | --- | --- |",
    ]
    for fault in FAULTS.values():
        cells = (f"`{fault.name}`", _plain(fault.does), fault.applies_to, _value(fault), fault.once or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _value(fault: Fault) -> str:
    off = f"{fault.default:g}" if isinstance(fault.default, float) else json.dumps(fault.default)
    if isinstance(fault.value, Choice):
        words = "; ".join(f"`{word}`: {_plain(meaning)}" for word, (meaning, _) in fault.value.options.items())
        return f"{words} ({off})"
    return f"{fault.value.can_be} ({off})"


def _plain(text: str) -> str:
    return text.replace("’", "'")
