"""Many deliveries at once on a real Redis: bounded, retried, buried, and drained."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from lapse import (
    Bury,
    Claim,
    ClaimHandler,
    ConcurrentWorker,
    Deadline,
    Kind,
    Move,
    Release,
    Settle,
    Timer,
    TimerRefused,
    TryLater,
    open_timer,
)
from lapse.testing.clock import ManualClock
from lapse.testing.faults import Proxy
from lapse.testing.servers import RedisServer
from lapse.timers.memory import MemoryTimer
from tests.engine.running import Recorder, Running, unfinished, wait_until

MOMENT = timedelta(milliseconds=1)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """One Redis for all of these tests."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def timer(redis: RedisServer) -> Iterator[Timer]:
    """Open a timer with nothing in it."""
    redis.ask("FLUSHALL")
    with open_timer(redis.url, name="orders") as timer:
        yield timer


def arm(timer: Timer, *keys: str) -> None:
    """Let these be due now."""
    timer.arm([Deadline(key, datetime.now(UTC)) for key in keys])


@contextmanager
def delivering(
    timer: Timer, deliver: ClaimHandler, *, concurrency: int = 4, max_attempts: int = 3, drain: float = 30
) -> Iterator[Recorder]:
    """Deliver beside the test, and stop after it."""
    recorder = Recorder()
    deliveries = ConcurrentWorker(
        timer,
        deliver,
        concurrency=concurrency,
        max_attempts=max_attempts,
        lease=timedelta(milliseconds=600),
        drain=timedelta(seconds=drain),
        hooks=(recorder,),
    )
    thread = threading.Thread(target=deliveries.run)
    thread.start()
    try:
        yield recorder
    finally:
        deliveries.stop()
        thread.join(60)
        assert not thread.is_alive()


def test_a_slow_one_delays_no_other_and_is_delivered_once(timer: Timer) -> None:
    """While one delivery takes several leases the others go through, and no other thread gets that order."""
    calls: list[str] = []
    slow = threading.Event()

    def deliver(claim: Claim) -> Settle:
        calls.append(claim.key)
        if claim.key == "slow":
            assert slow.wait(60)
        return Settle()

    arm(timer, "slow", *map(str, range(50)))
    with delivering(timer, deliver) as recorder:
        wait_until(lambda: len(calls) == 51)
        threading.Event().wait(1.5)  # two leases and a half
        slow.set()
        wait_until(lambda: not unfinished(timer))
    assert sorted(calls) == sorted(["slow", *map(str, range(50))])
    assert len(recorder.of(Kind.HANDLED)) == 51
    assert not recorder.of(Kind.LEASE_LOST)


def test_no_more_at_once_than_are_allowed(timer: Timer) -> None:
    """Never more than `concurrency` are under way, and no more are claimed than can begin."""
    lock, now, most = threading.Lock(), 0, 0

    def deliver(_: Claim) -> Settle:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        assert timer.stats().claimed <= 3
        threading.Event().wait(0.005)
        with lock:
            now -= 1
        return Settle()

    arm(timer, *map(str, range(60)))
    with delivering(timer, deliver, concurrency=3) as recorder:
        wait_until(lambda: not unfinished(timer))
    assert most == 3
    assert len(recorder.of(Kind.HANDLED)) == 60


def test_what_fails_is_tried_again_and_buried_in_the_end(timer: Timer) -> None:
    """Released, raising and given up on: each is handed out as often as it may be, and then lies buried, with why."""
    calls: list[str] = []

    def deliver(claim: Claim) -> Settle | Release | Bury:
        calls.append(claim.key)
        match claim.key:
            case "away":
                return Release(MOMENT, reason="503")
            case "broken":
                raise RuntimeError("no such thing")
            case "hopeless":
                return Bury("never")
            case "late" if claim.attempt < 3:
                return Release(MOMENT, reason="502")
        return Settle("404" if claim.key == "unknown" else "")

    arm(timer, "away", "broken", "hopeless", "late", "fine", "unknown")
    with delivering(timer, deliver) as recorder:
        wait_until(lambda: not unfinished(timer))
        reasons = {one.key: one.reason for one in timer.buried()}
    assert reasons == {"away": "503", "broken": "RuntimeError: no such thing", "hopeless": "never"}
    assert {key: calls.count(key) for key in calls} == {
        "away": 3,
        "broken": 3,
        "hopeless": 1,
        "late": 3,
        "fine": 1,
        "unknown": 1,
    }
    assert [event.keys for event in recorder.of(Kind.DECLINED)] == [("unknown",)]
    assert "attempt 1 of 3, again in" in next(event.reason for event in recorder.of(Kind.FAILED) if not event.error)


def test_what_was_handed_out_too_often_is_buried_untried(timer: Timer) -> None:
    """Claims whose holders died count as attempts, too."""
    arm(timer, "1")
    for _ in range(3):
        assert timer.claim(lease=MOMENT, wait=timedelta(seconds=30))

    def deliver(claim: Claim) -> Settle:
        raise AssertionError(claim)

    with delivering(timer, deliver):
        wait_until(lambda: timer.stats().buried == 1)
    assert "attempt limit exceeded" in timer.buried()[0].reason


def test_stopping_waits_for_what_is_under_way(timer: Timer) -> None:
    """What has begun may end, and is settled; nothing else is begun."""
    begun, calls = threading.Event(), []

    def deliver(claim: Claim) -> Settle:
        calls.append(claim.key)
        begun.set()
        threading.Event().wait(0.5)
        return Settle()

    arm(timer, *map(str, range(20)))
    with delivering(timer, deliver, concurrency=2):
        assert begun.wait(60)
    assert timer.stats().claimed == 0
    assert timer.stats().pending == 20 - len(calls)
    assert 1 <= len(calls) <= 4


def test_what_outlasts_the_drain_comes_again(timer: Timer) -> None:
    """A delivery that hangs does not keep the process; its lease ends and another one gets it."""
    hang = threading.Event()

    def deliver(_: Claim) -> Settle:
        hang.wait(60)
        return Settle()

    arm(timer, "1")
    with delivering(timer, deliver, drain=0.1) as recorder:
        wait_until(lambda: timer.stats().claimed == 1)
    assert "due again" in recorder.of(Kind.STOPPED)[0].reason
    claims: list[Claim] = []

    def claim() -> list[Claim]:
        claims.extend(timer.claim(wait=timedelta(seconds=1)))  # at once with nothing where the stop has woken the timer
        return claims

    wait_until(claim)
    assert [claim.attempt for claim in claims] == [2]
    hang.set()
    wait_until(lambda: recorder.of(Kind.HANDLED))  # its thread is through, and needs the timer no more
    assert timer.stats().claimed == 1  # and it took nothing from the other


def test_a_server_that_is_away_is_waited_for(redis: RedisServer, timer: Timer) -> None:
    """It is said once that the server is away and once that it is back, and then the rest is delivered."""
    calls: list[str] = []

    def deliver(claim: Claim) -> Settle:
        calls.append(claim.key)
        return Settle()

    with (
        Proxy(redis.port) as proxy,
        open_timer(f"redis://127.0.0.1:{proxy.port}/0", name="orders") as through,
        delivering(through, deliver) as recorder,
    ):
        wait_until(lambda: recorder.events)
        proxy.cut()
        wait_until(lambda: recorder.of(Kind.TIMER_LOST))
        arm(timer, "1")
        proxy.restore()
        wait_until(lambda: calls == ["1"])
        wait_until(lambda: not unfinished(timer))
    assert (len(recorder.of(Kind.TIMER_LOST)), len(recorder.of(Kind.TIMER_BACK))) == (1, 1)
    assert "the timer is away" in {event.reason for event in recorder.of(Kind.IDLE)}  # a sign of life with each try


def test_try_later_gives_the_claim_back_uncounted(timer: Timer) -> None:
    """What the handler postpones comes again as the same attempt, however often, and is never buried for it."""
    attempts: list[int] = []

    def deliver(claim: Claim) -> Settle:
        attempts.append(claim.attempt)
        if len(attempts) < 6:
            raise TryLater("the shop is away", after=MOMENT)
        return Settle()

    arm(timer, "1")
    with delivering(timer, deliver, max_attempts=2) as recorder:
        wait_until(lambda: not unfinished(timer))
    assert attempts == [1] * 6
    assert [event.reason for event in recorder.of(Kind.RELEASED)] == ["the shop is away"] * 5
    assert not recorder.of(Kind.FAILED)
    assert not recorder.of(Kind.BURIED)


def test_a_decision_that_cannot_be_carried_out_fails_its_own_claim(timer: Timer) -> None:
    """What is no decision is the handler's failure, as in a batch; a decision to move arms the deadline again."""
    later = datetime.now(UTC) + timedelta(hours=1)

    def deliver(claim: Claim) -> Settle | Move | None:
        match claim.key:
            case "moved":
                return Move(later)
            case "wrong":
                return cast(Settle, "done")
        return None

    arm(timer, "moved", "wrong", "left out")
    with delivering(timer, deliver, max_attempts=1) as recorder:
        wait_until(lambda: timer.stats().pending == 1 and timer.stats().buried == 1)
        next_due = timer.stats().next_due
    assert next_due is not None
    assert abs(next_due - later) < timedelta(seconds=1)
    assert [type(event.error) for event in recorder.of(Kind.FAILED)] == [TypeError]
    assert {key for event in recorder.of(Kind.HANDLED) for key in event.keys} == {"left out"}


def test_a_lost_lease_is_reported_once() -> None:
    """A claim whose lease ends under way comes again beside it; that is reported, once however long both last."""
    clock = ManualClock()
    timer = MemoryTimer("orders", clock=clock)
    timer.arm([Deadline("1", clock.now() - timedelta(seconds=9))])
    hang, attempts = threading.Event(), []

    def deliver(claim: Claim) -> Settle:
        attempts.append(claim.attempt)
        assert hang.wait(60)
        return Settle()

    with delivering(timer, deliver, concurrency=2) as recorder:
        wait_until(lambda: attempts == [1])
        clock.advance(timedelta(seconds=1))  # more than a lease, before any renewal
        wait_until(lambda: attempts == [1, 2])
        threading.Event().wait(0.6)  # three renewals
        hang.set()
        wait_until(lambda: not unfinished(timer))
    assert [event.keys for event in recorder.of(Kind.LEASE_LOST)] == [("1",)]


def test_no_thread_outlives_the_worker(timer: Timer) -> None:
    """The threads that deliver end with the worker."""
    with delivering(timer, lambda _: Settle()) as recorder:
        wait_until(lambda: recorder.of(Kind.IDLE))
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("lapse-orders")])


def test_an_unforeseen_error_of_the_timer_ends_the_worker() -> None:
    """A fault in the call that settles is raised by `run`; a thread that ended silently would never be missed."""

    class Faulty(MemoryTimer):
        def settle(self, claims: Sequence[Claim]) -> int:
            raise LookupError(claims)

    timer = Faulty("orders")
    arm(timer, "1")
    with pytest.raises(LookupError):
        ConcurrentWorker(timer, lambda _: Settle(), concurrency=2, hooks=()).run()


def test_a_handler_that_exits_ends_the_worker() -> None:
    """As in a batch: `run` raises. A thread that is gone without a word would keep its claim leased for ever."""
    timer = MemoryTimer("orders")
    arm(timer, *map(str, range(5)))
    worker = ConcurrentWorker(timer, lambda _: sys.exit(3), concurrency=2, hooks=())
    running = Running(worker)
    running.thread.join(10)
    ended = not running.thread.is_alive()
    worker.stop()
    running.join()
    assert ended
    assert isinstance(running.error, SystemExit)


def test_a_server_that_says_no_ends_it(redis: RedisServer) -> None:
    """Rights that are missing are no matter of waiting."""
    redis.ask("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", "-evalsha", "-eval")
    with open_timer(redis.url.replace("://", "://poor:pw@"), name="orders") as timer:
        deliveries = ConcurrentWorker(timer, lambda _: Settle(), concurrency=1, max_attempts=1, hooks=())
        with pytest.raises(TimerRefused):
            deliveries.run()
