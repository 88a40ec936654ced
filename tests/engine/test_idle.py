"""An idle worker emits events: an observer can tell idle from dead."""

from datetime import timedelta

import pytest

from lapse import Deadline, Kind, Timer, open_timer
from lapse.testing.servers import RedisServer
from tests.engine.running import Handled, Recorder, Start, ago, wait_until


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let claims wait for a moment only."""
    monkeypatch.setattr("lapse.engine.claim_loop.CLAIM_WAIT", timedelta(milliseconds=20))


def test_each_empty_claim_is_told(timer: Timer, start: Start, recorder: Recorder) -> None:
    """Again and again while nothing is due, and not for a claim that found something."""
    start(timer, Handled())
    wait_until(lambda: len(recorder.of(Kind.IDLE)) >= 3)
    assert {(event.timer, event.count, event.reason) for event in recorder.of(Kind.IDLE)} == {("orders", 0, "")}
    assert recorder.of(Kind.HANDLED) == []
    timer.arm([Deadline("1", ago(5))])
    wait_until(lambda: recorder.of(Kind.HANDLED))


def test_a_claim_that_stop_interrupts_is_not_told(
    timer: Timer, start: Start, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not looked."""
    monkeypatch.setattr("lapse.engine.claim_loop.CLAIM_WAIT", timedelta(hours=1))
    running = start(timer, Handled())
    wait_until(lambda: recorder.of(Kind.STARTED))
    running.stop()
    assert [event.kind for event in recorder.events] == [Kind.STARTED, Kind.STOPPED]


def test_a_worker_whose_server_is_away_lives(own_redis: RedisServer, start: Start, recorder: Recorder) -> None:
    """It says so with every try, and says why it does nothing."""
    with open_timer(own_redis.url, name="orders") as timer:
        start(timer, Handled())
        own_redis.kill()
        wait_until(lambda: len([event for event in recorder.of(Kind.IDLE) if event.reason == "the timer is away"]) >= 2)
