"""An order that kills the process which handles it: found by the attempts that were never answered."""

from datetime import UTC, datetime, timedelta

from lapse import Claim, Deadline, Event, Kind
from lapse.engine.settlement import ALONE_FROM
from lapse.engine.worker import Worker
from lapse.testing.clock import ManualClock
from lapse.timers.memory import MemoryTimer

LEASE = timedelta(seconds=10)
MAX_ATTEMPTS = 6


class Killed(BaseException):
    """A stand-in for the death of a handler's process: the worker ends, and nothing is settled."""


def test_a_killer_is_tried_alone_and_buried_in_the_end() -> None:
    """Given one order that kills each worker, the others are settled after a few deaths, and it is buried."""
    clock = ManualClock(datetime.now(UTC))
    timer = MemoryTimer("orders", clock=clock)
    timer.arm([Deadline(str(number), clock.now() - LEASE) for number in range(50)])
    settled: set[str] = set()
    deaths = 0

    def is_over() -> bool:
        stats = timer.stats()
        return (stats.pending, stats.claimed) == (0, 0)

    def handle(claims: list[Claim]) -> None:
        if any(claim.key == "13" for claim in claims):
            raise Killed
        settled.update(claim.key for claim in claims)

    def stop_when_over(event: Event) -> None:
        if event.kind in (Kind.BURIED, Kind.HANDLED) and is_over():
            worker.stop()

    while not is_over():
        assert deaths <= MAX_ATTEMPTS, "nothing was buried"
        worker = Worker(timer, handle, max_attempts=MAX_ATTEMPTS, lease=LEASE, hooks=[stop_when_over])
        try:
            worker.run()
        except Killed:
            deaths += 1
        clock.advance(LEASE)
    assert settled == {str(number) for number in range(50)} - {"13"}
    assert [grave.key for grave in timer.buried()] == ["13"]
    assert ALONE_FROM <= deaths <= MAX_ATTEMPTS
