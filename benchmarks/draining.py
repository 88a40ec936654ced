"""How quickly one worker hands over what falls due at one instant, to a handler that does nothing."""

import time
from collections.abc import Iterator

from benchmarks.lateness import Figure, far
from benchmarks.rows import median
from benchmarks.scene import MeasurementFailed, Scene, TooLate, now_ms, scene, until
from benchmarks.sizes import Sizes
from benchmarks.subjects import Subject

PROBE = 1_000
"""Orders armed and forgotten by the clock, to learn how long arming all of them will take."""
LOOK = 0.1
"""Seconds between two looks, as each reads all notes."""
SLACK = 2.0
"""How much longer than that it may take."""


def draining(subject: Subject, sizes: Sizes, lead: float) -> Iterator[Figure]:
    """Let many fall due at once, a few times. Raises TooLate where they were due before the worker was ready."""
    rates = [_one_burst(subject, sizes, lead) for _ in range(sizes.bursts)]
    yield "burst drained", median(rates), "per s", {"orders": sizes.burst, "runs": sizes.bursts}


def _one_burst(subject: Subject, sizes: Sizes, lead: float) -> float:
    probe = far(sizes.burst, PROBE)
    begun = time.perf_counter()
    if not subject.local:
        subject.arm(probe)
    per_order = (time.perf_counter() - begun) / PROBE
    with scene(subject, sizes.lease) as stage:
        instant = now_ms() + round(1000 * (lead + SLACK * per_order * sizes.burst))
        stage.arm(dict.fromkeys(range(sizes.burst), instant))
        with stage.worker("--count") as worker:
            if now_ms() >= instant:
                raise TooLate
            end = instant / 1000 + sizes.patience + sizes.burst * per_order
            until(lambda: _total(stage) >= sizes.burst or not worker.running, end - time.time(), look=LOOK)
            notes = stage.noted()
            if _total(stage) < sizes.burst:
                raise MeasurementFailed(f"{_total(stage):,} of {sizes.burst:,} were handed over:\n{worker.output}")
    if notes[0][1] < instant * 1_000_000:
        raise MeasurementFailed("the burst began before its instant")
    # The last batch is not yet done with when it is noted: less than a hundredth of the whole.
    return sizes.burst / ((notes[-1][1] - instant * 1_000_000) / 1e9)


def _total(stage: Scene) -> int:
    return sum(many for many, _ in stage.noted())
