"""Finds the one order that cannot be lapsed, so that it stops none of the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lapse.engine.errors import TryLater
from lapse.orders.port import Result


@dataclass(frozen=True, slots=True)
class Apart:
    """What became of the orders that could be asked, and, by key, what the others raised."""

    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)


def lapse_apart(lapse: Callable[[Sequence[str]], Mapping[str, Result]], keys: Sequence[str]) -> Apart:
    """Lapse the orders; a batch that raises is tried again in halves, until the bad order stands alone.

    Every key is in the answer once. Raises TryLater where `lapse` does: then it is no order's fault, and what is
    missing is found again.
    """
    apart = Apart()
    parts = [keys]  # a stack of what has not been tried, the next part on top
    while parts:
        part = parts.pop()
        if not part:
            continue
        try:
            apart.results.update(lapse(part))
        except TryLater:
            raise
        except Exception as error:  # noqa: BLE001 - any bug of a shop's hook may be one order's fault
            if len(part) == 1:
                apart.failed[part[0]] = error
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
    return apart
