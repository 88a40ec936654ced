"""How quickly one worker hands over what falls due at one instant, to a handler that does nothing."""

import time
from collections.abc import Iterator

from benchmarks.lateness import Figure, far
from benchmarks.rows import median
from benchmarks.scene import MeasurementFailed, Scene, TooLate, now_ms, scene, until
from benchmarks.sizes import Sizes
from benchmarks.subjects import Subject

PROBE = 1_000
"""Orders of a far future that are armed by the clock, to learn how long arming takes."""
PROBE_FROM = 1_000_000_000
"""The first number of these: no other orders have it."""
FEWEST = 2_000
"""However slow arming is, a burst has so many."""
LOOK = 0.1
"""Seconds between two looks, as each reads all notes."""
SLACK = 1.5
"""How many times as long as in the probe arming may take."""


def draining(subject: Subject, sizes: Sizes, lead: float) -> Iterator[Figure]:
    """Yield the rate at which many orders, due at one instant, are handed over; the median of a few times.

    Raises TooLate where the orders were due before the worker was ready.
    """
    each = 0.0 if subject.local else _seconds_to_arm_one(subject)
    count = min(sizes.burst, max(round(sizes.arm_within / each, -3), FEWEST)) if each else sizes.burst
    rates = [_one_burst(subject, sizes, int(count), lead + SLACK * each * count) for _ in range(sizes.bursts)]
    yield "burst drained", median(rates), "per s", {"orders": int(count), "runs": sizes.bursts}


def _seconds_to_arm_one(subject: Subject) -> float:
    begun = time.perf_counter()
    subject.arm(far(PROBE_FROM, PROBE))
    return (time.perf_counter() - begun) / PROBE


def _one_burst(subject: Subject, sizes: Sizes, count: int, lead: float) -> float:
    with scene(subject, sizes.lease) as stage:
        instant = now_ms() + round(lead * 1000)
        stage.arm(dict.fromkeys(range(count), instant))
        subject.place.analyse()
        with stage.worker("--count") as worker:
            if now_ms() >= instant:
                raise TooLate
            end = instant / 1000 + sizes.patience
            until(lambda: _total(stage) >= count or not worker.running, end - time.time(), look=LOOK)
            notes = stage.noted()
            if _total(stage) < count:
                raise MeasurementFailed(f"{_total(stage):,} of {count:,} were handed over:\n{worker.output}")
    if notes[0][1] < instant * 1_000_000:
        raise MeasurementFailed("the burst began before its instant")
    # The last batch is not yet done with when it is noted: less than a hundredth of the whole.
    return count / ((notes[-1][1] - instant * 1_000_000) / 1e9)


def _total(stage: Scene) -> int:
    return sum(many for many, _ in stage.noted())
