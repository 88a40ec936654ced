"""What the worker's tests share: a recorder for its events, workers in threads, and real Redis servers."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from lapse import Timer, Worker
from lapse.testing.servers import RedisServer
from lapse.timers.memory import MemoryTimer
from tests.engine.running import Recorder, Running, Start


@pytest.fixture
def recorder() -> Recorder:
    """Record a worker's events."""
    return Recorder()


@pytest.fixture
def timer() -> Timer:
    """Open a timer in memory."""
    return MemoryTimer("orders")


@pytest.fixture
def start(recorder: Recorder) -> Iterator[Start]:
    """Start workers that end with the test."""
    with ExitStack() as stack:

        def begin(timer: Timer, handler: Any, **settings: Any) -> Running:
            settings.setdefault("hooks", [recorder])
            running = Running(Worker(timer, handler, **settings))
            stack.callback(running.join)
            stack.callback(running.worker.stop)
            return running

        yield begin


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Start a Redis that the test may kill."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """Start a Redis that outlives all tests."""
    with RedisServer() as server:
        yield server
