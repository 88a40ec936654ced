"""The delay queue on Redis keeps the contract, on every Redis there is."""

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lapse import Timer, open_timer
from lapse.testing.conformance import TimerConformance
from lapse.testing.model import timer_machine
from lapse.testing.servers import RedisServer


class TestRedisQueue(TimerConformance):
    @pytest.fixture
    def handles(self, redis_server: RedisServer, timer_name: str) -> Callable[[], Timer]:
        """Open a timer of this test's own on the server."""
        return lambda: open_timer(redis_server.url, name=timer_name)


@pytest.mark.long  # TestCluster runs the suite with eight shards in `make test`
class TestThreeShards(TimerConformance):
    @pytest.fixture
    def handles(self, redis_server: RedisServer, timer_name: str) -> Callable[[], Timer]:
        """Open a timer with three shards."""
        return lambda: open_timer(f"{redis_server.url}?shards=3", name=timer_name)


@pytest.mark.parametrize("examples", [15, pytest.param(40, marks=pytest.mark.long)])
def test_model(examples: int, redis_server: RedisServer, timer_name: str) -> None:
    """Any sequence of calls leaves the same states as in a plain dictionary."""
    names = count()
    machine = timer_machine(lambda: open_timer(redis_server.url, name=f"{timer_name}-{next(names)}"))
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))
