"""A policy limits the length of the timer's queues: what does not fit is refused, and nothing accepted is lost."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from lapse import Claim, Deadline, Timer, TimerUnavailable, open_timer
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.testing.conformance import LONG, PATIENCE, ago, ahead, keys_of, wait_until
from lapse.timers.rabbitmq.errors import QueueFull
from tests.timers.rabbitmq_vhost import VirtualHost

LONGEST_WAIT = 120.0
"""Seconds. A message that the next queue refused is passed on again after five seconds, by the test's broker."""


@pytest.fixture
def timer(vhost: VirtualHost, timer_name: str) -> Iterator[Timer]:
    """Open a timer in that virtual host."""
    with open_timer(vhost.url, name=timer_name) as timer:
        yield timer


def arm_each(timer: Timer, deadlines: list[Deadline]) -> set[str]:
    """Arm one by one, and return the keys of those that were accepted."""
    accepted = set()
    for deadline in deadlines:
        try:
            timer.arm([deadline])
        except TimerUnavailable:
            continue
        accepted.add(deadline.key)
    return accepted


def claim_all(timer: Timer, keys: set[str]) -> dict[str, Claim]:
    """Claim and settle until each key was claimed, and return the claims by key."""
    claimed: dict[str, Claim] = {}
    end = SYSTEM_CLOCK.monotonic() + LONGEST_WAIT
    while not keys <= set(claimed) and SYSTEM_CLOCK.monotonic() < end:
        claims = timer.claim(wait=timedelta(seconds=2), lease=LONG)
        claimed |= {claim.key: claim for claim in claims}
        timer.settle(claims)
    return claimed


@pytest.mark.parametrize(
    ("limit", "operator"),
    [
        pytest.param({"max-length": 10}, False, id="policy"),
        pytest.param({"max-length-bytes": 1000}, True, id="operator policy", marks=pytest.mark.long),
    ],
)
def test_c10_a_policy_max_length_on_all_queues_while_no_worker_runs(
    vhost: VirtualHost, timer: Timer, limit: dict[str, int], operator: bool
) -> None:
    """36 deadlines accepted, 10 delivered. Now each accepted deadline is delivered, and the others are refused."""
    vhost.set_policy(limit, operator=operator)
    deadlines = [Deadline(f"{number:02}", ahead(timedelta(seconds=0.5 + number % 4))) for number in range(60)]
    deadlines += [Deadline(f"past {number:02}", ago(5)) for number in range(20)]
    accepted = arm_each(timer, deadlines)
    assert 20 <= len(accepted) < len(deadlines)
    SYSTEM_CLOCK.sleep(5)  # all of them are due now, in a queue that holds ten
    claimed = claim_all(timer, accepted)
    assert set(claimed) >= accepted
    wait_until(lambda: (timer.stats().pending, timer.stats().claimed) == (0, 0))


def test_c10_a_deadline_that_does_not_fit_is_refused_by_a_sentence(vhost: VirtualHost, timer: Timer) -> None:
    """The error names the queue and the policy's limits, and says how many were refused and what to do."""
    vhost.set_policy({"max-length": 10})
    arm_each(timer, [Deadline(str(number), ahead(LONG)) for number in range(20)])
    with pytest.raises(QueueFull) as refused:
        timer.arm([Deadline("1", ahead(LONG))])
    text = str(refused.value)
    assert f"refused 1 of 1 messages: the queue 'lapse.{timer.name}.level-" in text
    assert "max-length or max-length-bytes" in text
    assert "raise the policy's limit" in text
    assert "\n" not in text


def test_a_policy_that_is_deleted_while_queues_are_full(vhost: VirtualHost, timer: Timer) -> None:
    """No deadline stays behind in a level for ever, and arming works again over the same connection."""
    vhost.set_policy({"max-length": 3})
    deadlines = [Deadline(str(number), ahead(timedelta(seconds=0.5 + number % 3))) for number in range(30)]
    accepted = arm_each(timer, deadlines + [Deadline(f"past {number}", ago(5)) for number in range(9)])
    SYSTEM_CLOCK.sleep(3)
    vhost.delete_policy()
    wait_until(lambda: arm_each(timer, [Deadline("more", ago(5))]) == {"more"})
    assert set(claim_all(timer, accepted)) >= accepted


def test_a_refusal_costs_no_new_connection(vhost: VirtualHost, timer: Timer) -> None:
    """A shop that goes on arming into a full queue does not open a connection for each order."""
    vhost.set_policy({"max-length": 1})
    armed = arm_each(timer, [Deadline(str(number), ahead(LONG)) for number in range(5)])
    connection = timer._publisher.get().connection  # type: ignore[attr-defined]
    assert arm_each(timer, [Deadline(f"more {number}", ahead(LONG)) for number in range(5)]) == set()
    assert timer._publisher.get().connection is connection  # type: ignore[attr-defined]
    assert timer.stats().pending == len(armed)


def test_c10_claims_released_buried_and_revived_into_full_queues_are_kept(vhost: VirtualHost, timer: Timer) -> None:
    """A full queue refuses the copy, so the deadline stays where it is, and is claimed again."""
    timer.arm([Deadline(str(number), ago(5)) for number in range(8)])
    timer.bury(timer.claim(2, lease=LONG), reason="test")
    claims = timer.claim(3, lease=LONG)
    wait_until(lambda: timer.stats().due == 3)
    vhost.set_policy({"max-length": 1})
    wait_until(lambda: arm_each(timer, [Deadline("more", ago(5))]) == set())  # the policy applies
    with pytest.raises(QueueFull):
        timer.release(claims)
    claims = timer.claim(3, wait=PATIENCE, lease=LONG)
    with pytest.raises(QueueFull):
        timer.bury(claims, reason="test")
    with pytest.raises(QueueFull):
        timer.revive(["0", "1"])
    vhost.delete_policy()
    claimed = claim_all(timer, {str(number) for number in range(2, 8)})
    assert set(claimed) - {"more"} == {str(number) for number in range(2, 8)}
    assert sorted(buried.key for buried in timer.buried()) == ["0", "1"]
    assert timer.revive(["0", "1"]) == 2
    assert sorted(keys_of(timer.claim(lease=LONG))) == ["0", "1"]
