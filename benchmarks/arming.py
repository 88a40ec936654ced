"""How quickly deadlines are armed, and what each weighs where it is kept."""

import time
from collections.abc import Iterator

from benchmarks.lateness import Figure, far
from benchmarks.rows import median
from benchmarks.sizes import Sizes
from benchmarks.subjects import Subject

PARTS = 5
"""Into so many calls a bulk is divided; the median counts."""
WARM_UP = 20
EACH = -10_000_000
"""The first number of the orders that are armed one by one: no other orders have these."""


def fill(subject: Subject, first: int, count: int) -> Iterator[Figure]:
    """Yield the rate of arming orders of a far future in bulk, and what one of them weighs at its place."""
    before = subject.place.weight()
    rates = []
    for part in range(PARTS):
        due = far(first + part * count // PARTS, count // PARTS)
        begun = time.perf_counter()
        subject.arm(due)
        rates.append(len(due) / (time.perf_counter() - begun))
    about: dict[str, object] = {"orders": count}
    yield "armed in bulk", median(rates), "per s", about
    yield "weight of a pending deadline", (subject.place.weight() - before) / count, "bytes", about


def one_by_one(subject: Subject, sizes: Sizes) -> Iterator[Figure]:
    """Yield the rate of arming orders by a call each, from one process with one connection."""
    begun = time.perf_counter()
    subject.arm_each(far(EACH, WARM_UP))
    rate = WARM_UP / (time.perf_counter() - begun)
    count = max(min(sizes.one_by_one, round(rate * sizes.arm_within)) // PARTS, 1)
    rates = []
    for part in range(PARTS):
        due = far(EACH + WARM_UP + part * count, count)
        begun = time.perf_counter()
        subject.arm_each(due)
        rates.append(len(due) / (time.perf_counter() - begun))
    yield "armed one by one", median(rates), "per s", {"orders": count * PARTS}
