"""SIGTERM ends a worker after the batch in hand, within bounds, in a process of its own as in production."""

import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from lapse import Deadline, Timer, open_timer
from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.stopping import SAME_SIGNAL
from lapse.testing.servers import RedisServer
from tests.engine.running import ago, wait_until
from tests.engine.shop_floor import Floor

_names = count()


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    """Make a table of effects."""
    return Floor(tmp_path)


@pytest.fixture
def queue(shared_redis: RedisServer) -> Iterator[Timer]:
    """Open a timer of the test's own, in the server that all tests share."""
    with open_timer(shared_redis.url, name=f"draining{next(_names)}") as timer:
        yield timer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_batch_in_hand_is_finished(
    queue: Timer, floor: Floor, shared_redis: RedisServer, number: signal.Signals
) -> None:
    """Stopped while a handler runs, the worker finishes that batch, takes no other, and exits with 0."""
    queue.arm([Deadline(str(number), ago(5)) for number in range(20)])
    with floor.worker(shared_redis.url, name=queue.name, seconds=0.5, batch=10) as worker:
        wait_until(lambda: "handling 10" in worker.output)
        worker.send_signal(number)
        assert worker.exit_code() == 0
        assert worker.output.splitlines()[-2:] == ["worker stopped 0", "ended"]
    assert floor.cancelled() == 10
    stats = queue.stats()
    assert (stats.due, stats.claimed) == (10, 0)


def test_an_idle_worker_ends_at_once(queue: Timer, floor: Floor, shared_redis: RedisServer) -> None:
    """It does not wait until its claim is over, let alone for the drain."""
    queue.arm([Deadline("far", ago(-3600))])
    with floor.worker(shared_redis.url, name=queue.name, drain=3600) as worker:
        wait_until(lambda: "worker started" in worker.output)
        worker.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0
    assert queue.stats().pending == 1


def test_a_handler_that_takes_too_long_is_left(queue: Timer, floor: Floor, shared_redis: RedisServer) -> None:
    """When the drain is over the process ends, says why, and what it held is handed out again after a lease."""
    queue.arm([Deadline(str(number), ago(5)) for number in range(5)])
    with floor.worker(shared_redis.url, name=queue.name, seconds=3600, drain=0.3, lease=0.5) as worker:
        wait_until(lambda: "handling 5" in worker.output)
        begun = SYSTEM_CLOCK.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0
        assert SYSTEM_CLOCK.monotonic() - begun >= 0.3
        assert "still busy when the drain was over" in worker.output
    assert floor.cancelled() == 0
    wait_until(lambda: queue.stats().due == 5)
    again = queue.claim(lease=timedelta(minutes=1))
    assert len(again) == 5
    assert {claim.attempt for claim in again} == {2}


def test_a_second_signal_hurries(queue: Timer, floor: Floor, shared_redis: RedisServer) -> None:
    """Stopped twice, the worker does not wait for its handler, however long the drain."""
    queue.arm([Deadline("1", ago(5))])
    with floor.worker(shared_redis.url, name=queue.name, seconds=3600, drain=3600, lease=0.5) as worker:
        wait_until(lambda: "handling 1" in worker.output)
        worker.send_signal(signal.SIGTERM)
        threading.Event().wait(1.5 * SAME_SIGNAL)  # two that come together count as one
        assert worker.running
        worker.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0
    wait_until(lambda: queue.stats().due == 1)
