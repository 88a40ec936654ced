"""RabbitMQ delivers each message at its own time, months ahead too: no message blocks another, and none is early."""

import random
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lapse import Claim, Deadline, Decision, Move, Timer, Worker, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of, wait_until
from lapse.testing.servers import RabbitServer
from lapse.timers.rabbitmq import publisher, queues
from lapse.timers.rabbitmq.queues import LEVELS, TICK, levels_for, routing_key, ticks

DAY = 24 * 3600 * 1000
"""Milliseconds."""


@pytest.fixture
def timer(rabbit: RabbitServer, timer_name: str) -> Iterator[Timer]:
    """Open a timer of the test's own."""
    with open_timer(rabbit.url, name=timer_name) as timer:
        yield timer


def claim_until(timer: Timer, count: int) -> list[Claim]:
    """Claim and settle until there were so many claims."""
    claims: list[Claim] = []
    while len(claims) < count:
        new = timer.claim(wait=timedelta(seconds=60), lease=LONG)
        assert new, f"only {len(claims)} of {count} were claimed"
        assert timer.settle(new) == len(new)
        claims += new
    return claims


def test_a_far_deadline_blocks_no_near_one(timer: Timer) -> None:
    """Near deadlines fire, although a far one was armed before them and shares their levels."""
    timer.arm([Deadline("far", ahead(timedelta(days=60)))])
    timer.arm([Deadline("half an hour", ahead(timedelta(minutes=30)))])
    timer.arm([Deadline("near", ahead(timedelta(seconds=1.1)))])
    timer.arm([Deadline("nearer", ahead(timedelta(seconds=0.6)))])
    assert keys_of(claim_until(timer, 2)) == ["nearer", "near"]
    assert timer.stats().pending == 2


def test_deadlines_of_mixed_delays_each_fire_after_their_time(timer: Timer) -> None:
    """Delays of all lengths, armed in any order, one by one and together: each fires once, and none early."""
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


def test_a_delay_longer_than_all_levels_waits_again(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With levels for 0.9 s only, a deadline in 3 s fires after 3 s, as a first attempt."""
    monkeypatch.setattr(queues, "LEVELS", 3)
    due_at = ahead(timedelta(seconds=3))
    timer.arm([Deadline("1", due_at)])
    (claim,) = claim_until(timer, 1)
    assert claim.claimed_at >= due_at
    assert claim.attempt == 1


@pytest.mark.parametrize("delay", [-5, 0, 1, 124, 125, 126, 1_000, 1_800_000, DAY, 90 * DAY, 90 * DAY + 1])
def test_the_levels_of_a_delay_wait_as_long_as_the_delay(delay: int) -> None:
    """The levels that a routing key names wait as long as the delay in total, and less than one tick longer."""
    key = routing_key(ticks(delay)).split(".")
    waits = [TICK << level for level, bit in enumerate(key) if bit == "1"]
    assert 0 <= sum(waits) - max(delay, 0) < TICK
    assert levels_for(delay) == (len(key) if delay > 0 else 0) <= LEVELS
    assert all(wait < 2**32 for wait in waits)  # the longest time to live that a broker accepts


def test_copies_that_are_due_at_once_are_one_claim(timer: Timer) -> None:
    """A key that was armed several times is one claim where all copies are due. The last arming sets the deadline."""
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


def test_a_claim_that_is_passed_twice_is_settled_once(timer: Timer) -> None:
    """No delivery of it is left unacknowledged."""
    timer.arm([Deadline("1", ago(5))])
    (claim,) = timer.claim(lease=LONG)
    assert timer.settle([claim, claim]) == 1
    assert (timer.stats().pending, timer.stats().claimed) == (0, 0)


def test_released_copies_become_one_message(timer: Timer) -> None:
    """A release publishes one message for all copies of a key."""
    for _ in range(3):
        timer.arm([Deadline("1", ago(5))])
    assert timer.release(timer.claim()) == 1
    wait_until(lambda: timer.stats().due == 1)
    (again,) = timer.claim()
    assert again.attempt == 2


def test_a_claim_takes_no_more_than_it_returns(timer: Timer, rabbit: RabbitServer) -> None:
    """Messages that one process does not claim stay available for others: none is prefetched."""
    timer.arm([Deadline(f"{number:03}", ago(5)) for number in range(100)])
    claims = timer.claim(10, lease=LONG)
    assert len(claims) == 10
    wait_until(lambda: timer.stats().due == 90)
    with open_timer(rabbit.url, name=timer.name) as other:
        rest = other.claim(500, lease=LONG)
        assert len(rest) == 90
        assert all(claim.attempt == 1 for claim in rest)


def test_a_clock_that_is_ahead_makes_no_claim_early(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose clock is two seconds ahead arms too short a wait: the claiming process makes up for it."""
    due_at = ahead(timedelta(seconds=2.5))
    with monkeypatch.context() as clock_ahead:
        real = publisher.milliseconds_now
        clock_ahead.setattr(publisher, "milliseconds_now", lambda: real() + 2000)
        timer.arm([Deadline("1", due_at)])
    (claim,) = claim_until(timer, 1)
    assert claim.claimed_at >= due_at
    assert claim.attempt == 1


def test_a_worker_handles_orders_that_were_paid_or_moved(timer: Timer) -> None:
    """A disarmed deadline changes nothing, one that fires too soon is moved, and no copy is left in the end."""
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
    assert sorted(keys_of(lapsed)) == ["moved on", "moved up"]
    # On a busy machine the worker may begin when both are due.
    assert [claim.key for claim in lapsed if claim.claimed_at < later] in (["moved up"], [])
    assert all(claim.claimed_at >= due for claim, due in zip(lapsed, (soon, later), strict=True))
