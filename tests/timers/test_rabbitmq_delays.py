"""RabbitMQ hands each message out at its own time: none holds up another, none comes early, however far it is."""

import random
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lapse import Claim, Deadline, Decision, Move, Timer, Worker, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of, wait_until
from lapse.testing.servers import RabbitServer
from lapse.timers.rabbitmq import publisher, queues
from lapse.timers.rabbitmq.queues import LEVELS, TICK, levels_for, spelled, ticks

DAY = 24 * 3600 * 1000
"""Milliseconds."""


@pytest.fixture
def timer(rabbit: RabbitServer, timer_name: str) -> Iterator[Timer]:
    """Open a timer of the test's own."""
    with open_timer(rabbit.url, name=timer_name) as timer:
        yield timer


def claim_until(timer: Timer, count: int) -> list[Claim]:
    """Claim and settle until there were so many."""
    claims: list[Claim] = []
    while len(claims) < count:
        some = timer.claim(wait=timedelta(seconds=60), lease=LONG)
        assert some, f"only {len(claims)} of {count} came"
        assert timer.settle(some) == len(some)
        claims += some
    return claims


def test_a_far_deadline_holds_up_no_near_one(timer: Timer) -> None:
    """Given a far deadline armed first, in the same levels as near ones after it, the near ones come."""
    timer.arm([Deadline("far", ahead(timedelta(days=60)))])
    timer.arm([Deadline("half an hour", ahead(timedelta(minutes=30)))])
    timer.arm([Deadline("near", ahead(timedelta(seconds=1.1)))])
    timer.arm([Deadline("nearer", ahead(timedelta(seconds=0.6)))])
    assert keys_of(claim_until(timer, 2)) == ["nearer", "near"]
    assert timer.stats().pending == 2


def test_mixed_windows_each_come_after_their_time(timer: Timer) -> None:
    """Windows of all lengths, armed in any order, one by one and together: each comes, once, and none early."""
    dice = random.Random(7)  # noqa: S311 - a fixed order
    due = {str(number): ahead(timedelta(milliseconds=dice.randrange(0, 4000))) for number in range(300)}
    names = list(due)
    for name in names[:100]:
        timer.arm([Deadline(name, due[name])])
    timer.arm([Deadline(name, due[name]) for name in names[100:]])
    claims = claim_until(timer, len(due))
    assert sorted(keys_of(claims)) == sorted(names)
    assert all(claim.claimed_at >= due[claim.key] and claim.due_at >= due[claim.key] for claim in claims)
    assert timer.stats().pending == 0


def test_what_is_due_later_than_all_levels_wait_goes_round_again(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With levels for 0.9 s only, a deadline in 3 s comes after 3 s, as a first attempt."""
    monkeypatch.setattr(queues, "LEVELS", 3)
    due_at = ahead(timedelta(seconds=3))
    timer.arm([Deadline("1", due_at)])
    (claim,) = claim_until(timer, 1)
    assert claim.claimed_at >= due_at
    assert claim.attempt == 1


@pytest.mark.parametrize("delay", [-5, 0, 1, 124, 125, 126, 1_000, 1_800_000, DAY, 90 * DAY, 90 * DAY + 1])
def test_the_way_through_the_levels_is_as_long_as_the_delay(delay: int) -> None:
    """The levels that a key names wait as long as the delay in all, and less than one tick longer."""
    key = spelled(ticks(delay)).split(".")
    waits = [TICK << level for level, bit in enumerate(key) if bit == "1"]
    assert 0 <= sum(waits) - max(delay, 0) < TICK
    assert levels_for(delay) == (len(key) if delay > 0 else 0) <= LEVELS
    assert all(wait < 2**32 for wait in waits)  # the longest that a broker takes


def test_copies_that_are_due_at_once_are_one_claim(timer: Timer) -> None:
    """Armed three times, a key comes once where all are due; what was armed last counts, and all are settled."""
    for seconds in (5, 9, 7):
        timer.arm([Deadline("1", ago(seconds).replace(microsecond=0)), Deadline(f"other {seconds}", ago(8))])
    last = ago(6).replace(microsecond=0)
    timer.arm([Deadline("1", last)])
    claims = timer.claim()
    assert sorted(keys_of(claims)) == ["1", "other 5", "other 7", "other 9"]
    assert next(claim for claim in claims if claim.key == "1").due_at == last
    assert timer.settle(claims) == 4
    assert timer.claim() == []
    assert timer.stats().pending == 0


def test_a_claim_that_is_named_twice_is_settled_once(timer: Timer) -> None:
    """And nothing of it is left unanswered."""
    timer.arm([Deadline("1", ago(5))])
    (claim,) = timer.claim(lease=LONG)
    assert timer.settle([claim, claim]) == 1
    assert (timer.stats().pending, timer.stats().claimed) == (0, 0)


def test_copies_that_are_released_are_one_from_then_on(timer: Timer) -> None:
    """A release writes one message for all copies, so what is doubled does not stay so."""
    for _ in range(3):
        timer.arm([Deadline("1", ago(5))])
    assert timer.release(timer.claim()) == 1
    wait_until(lambda: timer.stats().due == 1)
    (again,) = timer.claim()
    assert again.attempt == 2


def test_claims_take_no_more_than_they_hand_out(timer: Timer, rabbit: RabbitServer) -> None:
    """What one process does not claim is there for others: nothing is fetched ahead, at any time."""
    timer.arm([Deadline(f"{number:03}", ago(5)) for number in range(100)])
    claims = timer.claim(10, lease=LONG)
    assert len(claims) == 10
    wait_until(lambda: timer.stats().due == 90)
    with open_timer(rabbit.url, name=timer.name) as other:
        rest = other.claim(500, lease=LONG)
        assert len(rest) == 90
        assert all(claim.attempt == 1 for claim in rest)


def test_a_forgotten_clock_does_not_make_it_early(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose clock is two seconds ahead arms too short a wait: the claimant lets it wait for the rest."""
    due_at = ahead(timedelta(seconds=2.5))
    with monkeypatch.context() as ahead_of_time:
        real = publisher.milliseconds_now
        ahead_of_time.setattr(publisher, "milliseconds_now", lambda: real() + 2000)
        timer.arm([Deadline("1", due_at)])
    (claim,) = claim_until(timer, 1)
    assert claim.claimed_at >= due_at
    assert claim.attempt == 1


def test_a_worker_does_right_by_orders_that_were_paid_or_moved(timer: Timer) -> None:
    """What fires for nothing changes nothing, what fires too soon is moved, and no copy is left in the end."""
    soon, later = ahead(timedelta(seconds=0.3)), ahead(timedelta(seconds=1.5))
    timer.arm([Deadline("paid", soon), Deadline("moved on", soon), Deadline("moved up", later)])
    timer.disarm(["paid"])
    timer.arm([Deadline("moved on", later), Deadline("moved up", soon)])
    unpaid = {"moved on": later, "moved up": soon}
    lapsed: list[Claim] = []

    def lapse(claims: list[Claim]) -> dict[str, Decision]:
        decisions: dict[str, Decision] = {}
        for claim in claims:
            due_at = unpaid.get(claim.key)
            if due_at is not None and claim.claimed_at < due_at:
                decisions[claim.key] = Move(due_at)
            elif unpaid.pop(claim.key, None):
                lapsed.append(claim)
        return decisions

    worker = Worker(timer, lapse)
    working = threading.Thread(target=worker.run)
    working.start()
    try:
        wait_until(lambda: not unpaid)
        wait_until(lambda: (timer.stats().pending, timer.stats().claimed) == (0, 0))
    finally:
        worker.stop()
        working.join(30)
    assert keys_of(lapsed) == ["moved up", "moved on"]
    assert all(claim.claimed_at >= due for claim, due in zip(lapsed, (soon, later), strict=True))
