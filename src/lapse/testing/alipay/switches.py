"""Which faults are on: for all trades, and for each trade by its number. A trade's own switch wins.

A switch can be counted: it is off again after so many uses, so a test needs no sleep. A trade has switches before it
exists, because its number is the shop's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lapse.testing.alipay.faults import FAULTS, Fault


@dataclass(slots=True)
class Switch:
    """One fault that is on: its value, and the uses that are left; None is without an end."""

    value: Any
    left: int | None = None


class Switches:
    """All switches of one simulator. One event loop owns them; they are not for several threads."""

    def __init__(self) -> None:
        self._for_all: dict[str, Switch] = {}
        self._by_trade: dict[str, dict[str, Switch]] = {}

    def change(self, changes: Mapping[str, object], *, out_trade_no: str = "", times: object = None) -> None:
        """Switch faults, of one trade or for all. None as a value takes the switch away.

        With `times`, the switch counts its uses and is off after so many. Raises ValueError, which lists what there is;
        then nothing has changed.
        """
        if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
            raise ValueError(f"times cannot be {times!r}: it is how often the fault comes, 1 or more")
        read = {name: read_value(name, value) for name, value in changes.items()}
        if times is not None and read and not any(FAULTS[name].once for name in read):
            counted = ", ".join(name for name, fault in FAULTS.items() if fault.once)
            raise ValueError(f"{', '.join(read)} cannot be counted; these can: {counted}")
        scope = self._by_trade.setdefault(out_trade_no, {}) if out_trade_no else self._for_all
        for name, value in read.items():
            if value is None:
                scope.pop(name, None)
            else:
                scope[name] = Switch(value, times if FAULTS[name].once and isinstance(times, int) else None)

    def reset(self, out_trade_no: str = "") -> None:
        """Switch off every fault of one trade; without a number, every fault there is."""
        if out_trade_no:
            self._by_trade.pop(out_trade_no, None)
            return
        self._for_all.clear()
        self._by_trade.clear()

    def value(self, name: str, out_trade_no: str) -> Any:  # noqa: ANN401 - each fault has a type of its own
        """Return the fault's value for a trade. This is not counted as a use."""
        switch = self._switch(name, out_trade_no)[1]
        return FAULTS[name].default if switch is None else switch.value

    def use(self, name: str, out_trade_no: str) -> Any:  # noqa: ANN401 - as above
        """Return the fault's value for a trade, and count one use."""
        scope, switch = self._switch(name, out_trade_no)
        if switch is None:
            return FAULTS[name].default
        if switch.left is not None:
            switch.left -= 1
            if not switch.left:
                del scope[name]
        return switch.value

    def hits(self, name: str, method: str, out_trade_no: str) -> bool:
        """Return whether a fault with a list of calls is on for this call, and count one use if it is."""
        return method in self.value(name, out_trade_no) and bool(self.use(name, out_trade_no))

    def on(self, out_trade_no: str = "") -> dict[str, Switch]:
        """Return the switches of a trade, or those for all, by name and in the table's order."""
        scope = self._by_trade.get(out_trade_no, {}) if out_trade_no else self._for_all
        return {name: scope[name] for name in FAULTS if name in scope}

    @property
    def numbers(self) -> list[str]:
        """The numbers of the trades that have switches of their own."""
        return [number for number, scope in self._by_trade.items() if scope]

    def _switch(self, name: str, out_trade_no: str) -> tuple[dict[str, Switch], Switch | None]:
        own = self._by_trade.get(out_trade_no, {})
        scope = own if name in own else self._for_all
        return scope, scope.get(name)


def document(switch: Switch) -> dict[str, object]:
    """Return the switch as JSON has it."""
    value = str(switch.value) if isinstance(switch.value, Decimal) else switch.value
    return {"value": value} | ({} if switch.left is None else {"left": switch.left})


def read_value(name: str, value: object) -> object:
    """Return the fault's value that a JSON value means, None for None. Raises ValueError, which lists what can be."""
    fault: Fault | None = FAULTS.get(name)
    if fault is None:
        raise ValueError(f"there is no fault {name!r}; there are: {', '.join(FAULTS)}")
    if value is None:
        return None
    try:
        return fault.value.read(value)
    except ValueError as error:
        raise ValueError(
            f"{name} cannot be {value!r}; it can be: {fault.value.can_be}; null switches it off"
        ) from error
