"""What the simulator can be told to do wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any


class Notifying(StrEnum):
    """What happens to a notify."""

    SEND = "send"
    DROP = "drop"
    """It is never sent."""
    DOUBLE = "double"
    """It is sent twice at the same moment."""
    DELAY = "delay"
    """It is sent after `notify_delay` seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """None by default. Each one stays until it is changed.

    * `notify`, `notify_delay`: what happens to notifies, and for how many seconds they are delayed.
    * `notify_amount`: the amount that notifies and queries tell instead of the true one.
    * `system_error`, `unavailable`: methods that answer ACQ.SYSTEM_ERROR, or code 20000; such as "alipay.trade.close".
    * `hang`: seconds for which the methods in `hanging` do not answer; what they do, they do before.
    * `forge`: answers are signed by a key that is not Alipay's.
    """

    notify: Notifying = Notifying.SEND
    notify_delay: float = 0.0
    notify_amount: Decimal | None = None
    system_error: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()
    hanging: tuple[str, ...] = ()
    hang: float = 0.0
    forge: bool = False

    def changed(self, changes: Mapping[str, Any]) -> "Faults":
        """Return these faults with some changed, as JSON says them. Raises ValueError for what is unknown."""
        unknown = changes.keys() - {one.name for one in fields(self)}
        if unknown:
            raise ValueError(f"there is no fault {', '.join(sorted(unknown))}")
        return replace(self, **{name: _read(name, value) for name, value in changes.items()})


def _read(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value, and any field's
    try:
        match name:
            case "notify":
                return Notifying(value)
            case "notify_amount":
                return None if value is None else Decimal(str(value))
            case "notify_delay" | "hang":
                return float(value)
            case "forge":
                return bool(value)
            case _:
                return (value,) if isinstance(value, str) else tuple(str(one) for one in value)
    except (TypeError, InvalidOperation) as error:
        raise ValueError(f"{value!r} is nothing for {name}") from error
