"""Events can be measured, and are logged alike by every hook."""

import logging
from collections import Counter
from datetime import timedelta

import pytest

from lapse import Claim, ConcurrentWorker, Deadline, Event, Kind, Timer
from lapse.engine.events import LEVELS, log_event
from lapse.timers.memory import MemoryTimer
from tests.engine.running import Recorder, Running, Start, ago, unfinished, wait_until

BOUNDS = [timedelta(seconds=seconds) for seconds in (10, 100, 1000)]
"""The upper bounds of a histogram's buckets."""


def histogram(events: list[Event]) -> Counter[timedelta]:
    """Count the claims of handled batches by the smallest bound that holds their lateness, as Prometheus does."""
    late = (lateness for event in events if event.kind is Kind.HANDLED for lateness in event.lateness)
    return Counter(min(bound for bound in BOUNDS if lateness <= bound) for lateness in late)


def test_a_histogram_of_lateness_from_events_alone(timer: Timer, start: Start, recorder: Recorder) -> None:
    """Each claim of a batch is counted in its bucket, whichever claims shared its batch."""
    late = {"1": 5, "2": 6, "3": 50, "4": 51, "5": 52, "6": 500}
    timer.arm([Deadline(key, ago(seconds)) for key, seconds in late.items()])
    start(timer, lambda _: None, batch=4)
    wait_until(lambda: len(recorder.of(Kind.HANDLED)) == 2)
    assert [histogram(recorder.events)[bound] for bound in BOUNDS] == [2, 3, 1]
    assert [len(event.lateness) for event in recorder.of(Kind.HANDLED)] == [4, 2]


def test_the_same_histogram_from_claims_that_are_executed_at_once(recorder: Recorder) -> None:
    """One event for each claim gives the same buckets as one event for each batch."""
    timer = MemoryTimer("orders")
    timer.arm([Deadline("1", ago(5)), Deadline("2", ago(50)), Deadline("3", ago(51))])

    def handle(_: Claim) -> None:
        return None

    running = Running(ConcurrentWorker(timer, handle, concurrency=3, hooks=[recorder]))
    wait_until(lambda: not unfinished(timer))
    running.stop()
    assert [histogram(recorder.events)[bound] for bound in BOUNDS] == [1, 2, 0]


def test_the_extremes_are_derived() -> None:
    """`earliest` and `latest` are those of the batch; an event without claims has neither."""
    event = Event(kind=Kind.HANDLED, timer="orders", lateness=(timedelta(2), timedelta(1), timedelta(3)))
    assert (event.earliest, event.latest) == (timedelta(1), timedelta(3))
    assert Event(kind=Kind.IDLE, timer="orders").latest is None


@pytest.mark.parametrize("kind", [Kind.HANDLED, Kind.SWEPT])
def test_what_was_cancelled_is_one_line_of_information(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """A handled batch and a sweep that found something are one line at INFO each."""
    caplog.set_level(logging.INFO, "lapse")
    log_event(Event(kind=kind, timer="orders", count=2, keys=("1", "2"), lateness=(timedelta(seconds=1),) * 2))
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == f"orders: {kind} count=2 latest=1000ms keys=1, 2"


def test_each_kind_has_one_level(caplog: pytest.LogCaptureFixture) -> None:
    """Every kind is logged at the level of the one table; those that are missing there are information."""
    caplog.set_level(logging.DEBUG, "lapse")
    for kind in Kind:
        log_event(Event(kind=kind, timer="orders"))
    assert [record.levelno for record in caplog.records] == [LEVELS.get(kind, logging.INFO) for kind in Kind]
