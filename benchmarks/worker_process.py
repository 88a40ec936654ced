"""A worker of Lapse in a process of its own: `python -m benchmarks.worker_process URL --notes FILE`.

It says on its standard output when it is ready, and when it has armed orders again.
"""

import argparse
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from benchmarks.notes import Notes
from benchmarks.orders import Orders
from lapse import Claim, Event, Timer, Worker, open_timer
from lapse.engine.events import Kind
from lapse.engine.timer import LEASE

READY = "ready"
REARMED = "armed again"


def main() -> None:
    """Work until SIGTERM."""
    given = _arguments()
    orders = Orders(given.orders) if given.orders else None

    def hear(event: Event, /) -> None:
        if event.kind is (Kind.REARMED if given.local else Kind.STARTED):
            print(READY, flush=True)
        if event.kind is Kind.REARMED:
            print(f"{REARMED} {time.time_ns()}", flush=True)

    with open_timer(given.url, name=given.name) as timer:
        rearm = (lambda: _arm_again(timer, orders)) if orders else None
        handler = _Handler(Notes(given.notes), orders if given.cancel else None, given)
        Worker(timer, handler, lease=timedelta(seconds=given.lease), rearm=rearm, hooks=[hear]).run()


class _Handler:
    """Notes each order it is handed, cancels it where there are orders, and dies after `--die-after` of them."""

    def __init__(self, notes: Notes, orders: Orders | None, given: argparse.Namespace) -> None:
        self._notes = notes
        self._orders = orders
        self._counts: bool = given.count
        self._dies_after: int = given.die_after
        self._handed = 0

    def __call__(self, claims: list[Claim]) -> None:
        if self._counts:
            self._notes.count(len(claims))
            return
        numbers = [int(claim.key) for claim in claims]
        self._notes.each(numbers)
        self._handed += len(claims)
        dies = 0 < self._dies_after <= self._handed
        if self._orders:
            # The worst moment: of what it holds, one half is done and not settled, the other not begun.
            self._orders.cancel(numbers[: len(numbers) // 2] if dies else numbers)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)


def _arm_again(timer: Timer, orders: Orders) -> int:
    armed = 0
    for part in orders.unpaid():
        timer.arm(part, only_unknown=True)
        armed += len(part)
    return armed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--name", default="orders")
    parser.add_argument("--notes", type=Path, required=True, help="the file that each call of the handler is noted in")
    parser.add_argument("--count", action="store_true", help="note how many were handed over, not which")
    parser.add_argument("--orders", type=Path, help="orders to arm again from")
    parser.add_argument("--local", action="store_true", help="only they arm the timer: it is ready once they have")
    parser.add_argument("--cancel", action="store_true", help="cancel those orders")
    parser.add_argument("--die-after", type=int, default=0, help="after so many, die by SIGKILL amid a batch")
    parser.add_argument("--lease", type=float, default=LEASE.total_seconds())
    return parser.parse_args()


if __name__ == "__main__":
    main()
