"""Finds the order that cannot be lapsed, so that it does not stop the other orders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lapse.engine.errors import TryLater
from lapse.orders.port import Result


@dataclass(frozen=True, slots=True)
class Isolated:
    """The results of the orders that lapsed without an error, and the errors of the other orders, by key."""

    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)


def isolate(lapse: Callable[[Sequence[str]], Mapping[str, Result]], keys: Sequence[str]) -> Isolated:
    """Lapse the orders and return the result or the error of each: every key is in `results` or in `failed`.

    A batch that raises is tried again in halves, until the bad order is alone in its batch. If `lapse` raises TryLater,
    this raises it too: no order is at fault, and a later sweep finds the untried orders again.
    """
    isolated = Isolated()
    parts = [keys]  # a stack of untried parts, the next part on top
    while parts:
        part = parts.pop()
        if not part:
            continue
        try:
            isolated.results.update(lapse(part))
        except TryLater:
            raise
        except Exception as error:  # noqa: BLE001 - any bug of a shop's hook may be one order's fault
            if len(part) == 1:
                isolated.failed[part[0]] = error
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
    return isolated
