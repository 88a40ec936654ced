"""A lease lasts as long as its handler; a worker that lost a lease leaves the order alone.

The timers' clocks stand still, or are put forward: a busy machine ends no lease here.
"""

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from lapse import Claim, Deadline, Kind, Timer, TimerRefused, TimerUnavailable
from lapse.engine.clock import SystemClock
from lapse.engine.timer import LEASE
from lapse.testing.clock import ManualClock
from lapse.timers.memory import MemoryTimer
from tests.engine.running import Handled, Recorder, Start, ago, wait_until


@pytest.fixture
def clock() -> ManualClock:
    """Let no lease end but by `advance`."""
    return ManualClock()


@pytest.fixture
def timer(clock: ManualClock) -> Timer:
    """Open a timer in memory, by that clock."""
    return MemoryTimer("orders", clock=clock)


def due(clock: ManualClock, *keys: str) -> list[Deadline]:
    """Return deadlines that have passed, in this order."""
    return [Deadline(key, clock.now() - timedelta(seconds=9 - number)) for number, key in enumerate(keys)]


def test_a_long_handler_keeps_its_lease(start: Start, recorder: Recorder, clock: ManualClock) -> None:
    """While it runs, for four leases, no other worker gets the order, and it is settled in the end."""
    renewals: list[int] = []

    class Counting(MemoryTimer):
        def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
            renewed = super().renew(claims, lease=lease)
            renewals.append(len(renewed))
            return renewed

    timer = Counting("orders", clock=clock)
    timer.arm(due(clock, "1"))
    claimed: list[Claim] = []
    ready = threading.Event()

    def handler(claims: list[Claim]) -> None:
        claimed.extend(claims)
        ready.wait(60)

    start(timer, handler, lease=timedelta(milliseconds=300))
    wait_until(lambda: claimed)
    others = []
    for _ in range(10):
        # One that is on its way now may still be by the time before: two steps are less than a lease.
        seen = len(renewals)
        wait_until(lambda seen=seen: len(renewals) > seen)  # type: ignore[misc] # a default binds it
        clock.advance(timedelta(milliseconds=120))
        others.append(timer.claim())
    ready.set()
    wait_until(lambda: recorder.of(Kind.HANDLED))
    assert others == [[]] * 10
    assert len(claimed) == 1
    assert not recorder.of(Kind.LEASE_LOST)
    stats = timer.stats()
    assert (stats.pending, stats.claimed) == (0, 0)


def test_what_was_lost_while_halving_is_left_alone(
    timer: Timer, start: Start, recorder: Recorder, clock: ManualClock
) -> None:
    """Claims that turn out to be in other hands are not handled again by the half that comes later."""
    timer.arm(due(clock, *"0123"))
    calls: list[list[str]] = []

    def handler(claims: list[Claim]) -> None:
        calls.append([claim.key for claim in claims])
        if len(calls) == 1:
            raise LookupError
        if len(calls) == 2:
            timer.disarm(["2"])  # as a payment does
            wait_until(lambda: recorder.of(Kind.LEASE_LOST))

    start(timer, handler, lease=timedelta(milliseconds=300))
    wait_until(lambda: len(calls) == 3)
    assert calls == [list("0123"), list("01"), ["3"]]
    (lost,) = recorder.of(Kind.LEASE_LOST)
    assert (lost.count, lost.keys) == (1, ("2",))


@pytest.mark.parametrize(
    "error",
    [TimerUnavailable("away"), TimerRefused("no right to renew"), ZeroDivisionError("a bug")],
    ids=["away", "refused", "bug"],
)
def test_renewing_goes_on_after_an_error(
    start: Start, recorder: Recorder, clock: ManualClock, error: Exception
) -> None:
    """One renewal that fails, for any reason, does not end the thread that the next ones need."""
    renewals: list[int] = []

    class Failing(MemoryTimer):
        def renew(self, claims: Sequence[Claim], *, lease: timedelta = LEASE) -> list[Claim]:
            renewals.append(len(claims))
            if len(renewals) == 1:
                raise error
            return super().renew(claims, lease=lease)

    timer = Failing("orders", clock=clock)
    timer.arm(due(clock, "1"))
    start(timer, lambda _: wait_until(lambda: len(renewals) > 4), lease=timedelta(milliseconds=300))
    wait_until(lambda: recorder.of(Kind.HANDLED))
    assert not recorder.of(Kind.LEASE_LOST)


def test_what_is_settled_is_not_called_lost(start: Start, recorder: Recorder, clock: ManualClock) -> None:
    """A renewal that comes between the settlement and the next batch reports no loss."""

    class Slow(MemoryTimer):
        def settle(self, claims: Sequence[Claim]) -> int:
            settled = super().settle(claims)
            threading.Event().wait(0.3)  # the answer is slow: three renewals could come meanwhile
            return settled

    timer = Slow("orders", clock=clock)
    timer.arm(due(clock, "1"))
    start(timer, Handled(), lease=timedelta(milliseconds=300))
    wait_until(lambda: recorder.of(Kind.HANDLED))
    assert not recorder.of(Kind.LEASE_LOST)


def test_a_settlement_that_is_not_heard_hands_out_again(start: Start, recorder: Recorder) -> None:
    """If the timer is away when the batch is done, its leases end, and the orders come once more."""

    class Forward(SystemClock):
        by = timedelta(0)

        def now(self) -> datetime:
            return super().now() + self.by

    class Away(MemoryTimer):
        refusals = 1

        def settle(self, claims: Sequence[Claim]) -> int:
            if self.refusals:
                self.refusals -= 1
                raise TimerUnavailable("no answer")
            return super().settle(claims)

    clock = Forward()
    timer = Away("orders", clock=clock)
    timer.arm([Deadline("1", ago(5)), Deadline("2", ago(5))])
    handled = Handled()
    start(timer, handled, lease=timedelta(hours=1))
    wait_until(lambda: recorder.of(Kind.FAILED))
    clock.by = timedelta(hours=2)
    wait_until(lambda: len(handled.keys) == 4)
    wait_until(lambda: timer.stats().claimed == 0)
    assert [claim.attempt for claim in handled.claims] == [1, 1, 2, 2]
    assert timer.stats().pending == 0
    assert "handed out again" in recorder.of(Kind.FAILED)[0].reason
