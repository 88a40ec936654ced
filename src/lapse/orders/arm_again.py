"""Arms the timer for every unpaid order again, after its server lost deadlines or after a change of mechanism."""

from collections.abc import Iterator
from itertools import islice

from lapse.engine.timer import Timer
from lapse.orders.port import Orders

ARM_BATCH = 2000
"""How many deadlines one call arms while all unpaid orders are armed again."""


def arm_unpaid(timer: Timer, orders: Orders, *, only_unknown: bool = True, batch: int = ARM_BATCH) -> Iterator[int]:
    """Arm every unpaid order, `batch` at a time; yield after each batch how many were armed so far.

    With `only_unknown`, deadlines that the timer already has stay as they are, including buried deadlines. Errors of
    the timer and of the orders are passed on; the call may be repeated.
    """
    deadlines = iter(orders.deadlines())
    count = 0
    while part := list(islice(deadlines, batch)):
        timer.arm(part, only_unknown=only_unknown)
        count += len(part)
        yield count
