"""The faults that the simulator can be set to have."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any


class Notifying(StrEnum):
    """How a notify is sent."""

    SEND = "send"
    DROP = "drop"
    """It is never sent."""
    DOUBLE = "double"
    """It is sent twice at the same moment."""
    DELAY = "delay"
    """It is sent after `notify_delay` seconds."""


class Answers(StrEnum):
    """The form in which the gateway's address answers a call."""

    RIGHT = "right"
    EMPTY = "empty"
    """No content."""
    GARBAGE = "garbage"
    """An HTML page, as a proxy sends it."""
    HALF = "half"
    """The right answer, cut in the middle."""
    ENDLESS = "endless"
    """Blanks, one by one, and no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults; none by default. Each fault stays until it is changed.

    * `notify`, `notify_delay`: what happens to notifies, and the delay in seconds.
    * `notify_amount`: the amount, in yuan, that notifies and queries report instead of the true one.
    * `system_error`, `unavailable`: methods that answer ACQ.SYSTEM_ERROR, or code 20000; such as "alipay.trade.close".
    * `refund_refused`: the sub-code that refuses every refund, such as ACQ.SELLER_BALANCE_NOT_ENOUGH; "" refuses none.
    * `overtime`: links can be paid after their end, as if this clock were late.
    * `hang`: the seconds after which the methods in `hanging` answer. Their effect comes at once.
    * `charset`: the charset of answers, notifies and the return; "" is that of the shop's call.
    * `unnamed`: notifies and the return do not name the certificate that Alipay signed with.
    * `forge`: another key than Alipay's signs the answers.
    * `answers`: the form of each answer to a call.
    """

    notify: Notifying = Notifying.SEND
    notify_delay: float = 0.0
    notify_amount: Decimal | None = None
    system_error: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()
    refund_refused: str = ""
    overtime: bool = False
    hanging: tuple[str, ...] = ()
    hang: float = 0.0
    charset: str = ""
    unnamed: bool = False
    forge: bool = False
    answers: Answers = Answers.RIGHT

    def changed(self, changes: Mapping[str, Any]) -> "Faults":
        """Return these faults with the `changes`, JSON values. Raises ValueError for an unknown fault or value."""
        unknown = changes.keys() - {one.name for one in fields(self)}
        if unknown:
            raise ValueError(f"there is no fault {', '.join(sorted(unknown))}")
        return replace(self, **{name: _read(name, value) for name, value in changes.items()})


def _read(name: str, value: Any) -> Any:  # noqa: ANN401, PLR0911 - any JSON value, any field's, and a case for each
    try:
        match name:
            case "notify":
                return Notifying(value)
            case "answers":
                return Answers(value)
            case "notify_amount":
                return None if value is None else Decimal(str(value))
            case "notify_delay" | "hang":
                return float(value)
            case "charset":
                return value and codecs.lookup(value).name
            case "refund_refused":
                return str(value or "")
            case "forge" | "unnamed" | "overtime":
                return bool(value)
            case _:
                return (value,) if isinstance(value, str) else tuple(str(one) for one in value)
    except (TypeError, LookupError, InvalidOperation) as error:
        raise ValueError(f"{name} cannot be {value!r}") from error
