"""Finds the one order that cannot be lapsed, so that it stops none of the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lapse.engine.errors import TryLater
from lapse.orders.port import Result


@dataclass(frozen=True, slots=True)
class Isolated:
    """What became of the orders whose lapse raised nothing, and, by key, what the lapse of each other order raised."""

    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)


def isolate(lapse: Callable[[Sequence[str]], Mapping[str, Result]], keys: Sequence[str]) -> Isolated:
    """Lapse the orders and return what became of each; every key is in `results` or in `failed`.

    A batch that raises is tried again in halves, until the bad order stands alone. Raises TryLater where `lapse`
    does: then no order is at fault, and those that are missing are found again.
    """
    isolated = Isolated()
    parts = [keys]  # a stack of what has not been tried, the next part on top
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
