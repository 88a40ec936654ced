"""What it costs when a worker is killed amid a burst, at the worst moment, and another is started at once."""

import time
from collections.abc import Iterator

from benchmarks.lateness import Figure
from benchmarks.scene import MeasurementFailed, TooLate, now_ms, scene, until
from benchmarks.sizes import Sizes
from benchmarks.subjects import Subject

DIES_AFTER = 4
"""It dies in the first batch after one in so many orders."""


def killed_worker(subject: Subject, sizes: Sizes, lead: float) -> Iterator[Figure]:
    """Yield what a worker's death in a burst costs. Half of its batch is done in the shop's table and not settled."""
    with scene(subject, sizes.lease) as stage:
        instant = now_ms() + round(lead * 1000)
        stage.arm(dict.fromkeys(range(sizes.crash), instant), orders=True)
        with stage.worker("--cancel", f"--die-after={sizes.crash // DIES_AFTER}", orders=True) as doomed:
            if now_ms() >= instant:
                raise TooLate
            if not until(lambda: not doomed.running, instant / 1000 - time.time() + sizes.patience):
                raise MeasurementFailed(f"it should have died, and lives:\n{doomed.output}")
        with stage.worker("--cancel", orders=True) as worker:
            end = instant / 1000 + sizes.lease.total_seconds() + sizes.patience
            until(lambda: stage.orders.left() == 0 or not worker.running, end - time.time())
            # What was done and not settled is handed out again, when its lease is over and after all else.
            until(lambda: subject.known() == 0, sizes.lease.total_seconds() if not subject.local else 0)
        books = stage.orders.books()
    about: dict[str, object] = {"orders": sizes.crash, "lease_s": sizes.lease.total_seconds()}
    about["patience_s"] = sizes.patience
    if books.earliest < 0:
        raise MeasurementFailed(f"an order was cancelled {-books.earliest:.6f} s early")
    yield "worker killed: never cancelled", books.placed - books.cancelled, "orders", about
    yield "worker killed: handed out again", books.again, "orders", about
    yield "worker killed: effects doubled", books.doubled, "orders", about
    yield "worker killed: longest delay", books.longest, "s", about
