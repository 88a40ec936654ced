"""What it costs when the server that keeps the deadlines is killed and started again, with a worker running.

Where deadlines are in no process of their own, the process that has them is the worker: it is killed instead.
"""

import re
import sqlite3
import time
from collections.abc import Iterator
from math import inf

from benchmarks.lateness import Figure
from benchmarks.scene import LOOK, MeasurementFailed, Scene, TooLate, now_ms, scene, until
from benchmarks.sizes import Sizes
from benchmarks.subjects import Subject
from benchmarks.worker_process import REARMED
from lapse.testing.faults import ChildProcess
from lapse.testing.servers import PrivateServer

SPREAD = 4.0
"""Seconds over which the orders fall due; the crash comes after a third of them."""


def killed_server(subject: Subject, sizes: Sizes, lead: float) -> Iterator[Figure]:
    """Yield what a crash costs orders that fall due before, during and after it, with effects in the shop's table."""
    with scene(subject, sizes.lease) as stage:
        begin = now_ms() + round(lead * 1000)
        due = {number: begin + round(number * SPREAD * 1000 / sizes.crash) for number in range(sizes.crash)}
        stage.arm(due, orders=True)
        end = begin / 1000 + SPREAD + sizes.lease.total_seconds() + sizes.patience
        with stage.worker("--cancel", orders=True) as worker:
            if now_ms() >= begin:
                raise TooLate
            time.sleep(max(begin / 1000 + SPREAD / 3 - time.time(), 0))
            begun = time.perf_counter()
            if server := subject.place.server:
                lost = _crash(server, stage, worker)
                back, away = time.time_ns(), time.perf_counter() - begun
                worker.thaw()
                armed_again = _finish(stage, worker, end, since=back)
            else:
                worker.kill()
        if not server:
            lost = max(stage.orders.left() - subject.known(), 0)
            with stage.worker("--cancel", orders=True) as worker:
                back, away = time.time_ns(), time.perf_counter() - begun
                armed_again = _finish(stage, worker, end, since=0)
            armed_again = away  # it is ready when it has armed again
        books = stage.orders.books()
    if not subject.exact and armed_again == inf and books.cancelled == books.placed:
        lost = 0  # the count trailed: all orders came, and no deadline had been armed again
    if books.earliest < 0:
        raise MeasurementFailed(f"an order was cancelled {-books.earliest:.6f} s early")
    about: dict[str, object] = {"orders": sizes.crash, "spread_s": SPREAD, "patience_s": sizes.patience}
    about["killed"] = "server" if server else "worker"
    yield "server killed: away", away, "s", about
    yield "server killed: deadlines it lost", lost, "orders", about
    yield "server killed: armed again after", armed_again if lost else 0.0, "s", about
    yield "server killed: never cancelled", books.placed - books.cancelled, "orders", about
    yield "server killed: effects doubled", books.doubled, "orders", about
    yield "server killed: longest delay", books.longest, "s", about


def _crash(server: PrivateServer, stage: Scene, worker: ChildProcess) -> int:
    """Kill the server and start it. Return how many deadlines the server lost, before they are armed again."""
    _freeze(stage, worker)
    server.kill()
    server.start()
    # By now the worker stands still for certain, which on a busy machine takes a moment.
    return max(stage.orders.left() - stage.subject.known(), 0)


def _freeze(stage: Scene, worker: ChildProcess) -> None:
    """Stop the worker at a moment when it does not hold the table of orders."""
    while True:
        worker.freeze()
        time.sleep(LOOK)
        try:
            stage.orders.left()
        except sqlite3.OperationalError:
            worker.thaw()
            time.sleep(LOOK)
        else:
            return


def _finish(stage: Scene, worker: ChildProcess, end: float, *, since: int) -> float:
    """Wait for all orders. Returns the seconds until they were armed again, infinite where they never were."""
    until(lambda: stage.orders.left() == 0 or not worker.running, end - time.time())
    if not worker.running:
        raise MeasurementFailed(f"the worker ended:\n{worker.output}")
    moments = [int(at) for at in re.findall(rf"{REARMED} (\d+)", worker.output)]
    return min(((at - since) / 1e9 for at in moments if at >= since), default=inf)
