"""How late a handler is called, after its order's deadline, among many orders whose time is far."""

from collections.abc import Iterator
from math import inf

from benchmarks.rows import percentile
from benchmarks.scene import MeasurementFailed, TooLate, now_ms, scene
from benchmarks.sizes import Sizes
from benchmarks.subjects import Subject

HOUR = 3_600_000
"""In ms. What is far is due in one to two hours."""
WARM_UP = 50
"""Orders that come first and do not count: connections are made, code is loaded."""
TRY = 10_000
"""More than the orders of one try."""
Figure = tuple[str, float, str, dict[str, object]]
"""A measurement's name, its value, its unit, its parameters."""


def far(first: int, count: int) -> dict[int, int]:
    """Return orders of a far future, numbered from `first`, with their deadlines in ms since 1970."""
    begin = now_ms() + HOUR
    return {first + step: begin + step * HOUR // count for step in range(count)}


def lateness(subject: Subject, sizes: Sizes, pending: int, lead: float) -> Iterator[Figure]:
    """Yield how late orders are handed over that fall due one after the other, among `pending` far ones.

    The far ones are armed already, unless the worker has to arm them.

    Raises TooLate where the worker was not ready when the first fell due, MeasurementFailed for one that was early.
    """
    count, gap = sizes.due + WARM_UP, 1000 // sizes.per_second
    with scene(subject, sizes.lease) as stage:
        begin = now_ms() + round(lead * 1000)
        first = -begin * TRY  # numbers of no other try: what that armed may still come, where it cannot be taken back
        due = {first - step: begin + step * gap for step in range(count)}
        stage.arm(due | far(0, pending) if subject.local else due)
        with stage.worker() as worker:
            if now_ms() >= begin:
                raise TooLate
            last = max(due.values()) / 1000
            stage.wait_for(due.keys(), last + sizes.patience, worker)
        entered: dict[int, int] = {}
        for number, at in stage.noted():
            entered.setdefault(number, at)
    numbers = list(due)[WARM_UP:]
    late = sorted((entered.get(number, inf) - due[number] * 1e6) / 1e6 for number in numbers)
    if late[0] < 0:
        raise MeasurementFailed(f"an order was handed over {-late[0]:.3f} ms before its deadline")
    about: dict[str, object] = {"pending": pending, "due": sizes.due, "per_s": sizes.per_second}
    about["patience_s"] = sizes.patience
    for name, value in (
        ("earliest", late[0]),
        ("p50", percentile(late, 0.5)),
        ("p99", percentile(late, 0.99)),
        ("max", late[-1]),
    ):
        yield f"lateness {name}", value, "ms", about
    yield "fired in time to be counted", 100 * sum(one < inf for one in late) / len(late), "%", about
