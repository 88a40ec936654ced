"""The APScheduler timer passes the conformance suite, on Redis, PostgreSQL and SQLite."""

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lapse import Timer, open_timer
from lapse.testing.conformance import TimerConformance
from lapse.testing.model import timer_machine
from lapse.testing.servers import RedisServer

SQL = [pytest.param("postgresql", marks=pytest.mark.long), "sqlite"]
"""The same code of the library serves both; `make test` takes the database without a server."""


class TestApschedulerRedis(TimerConformance):
    @pytest.fixture
    def handles(self, redis_server: RedisServer, timer_name: str) -> Callable[[], Timer]:
        """Open a timer of this test's own on the server."""
        return lambda: open_timer(f"apscheduler+{redis_server.url}", name=timer_name)


class TestApschedulerSql(TimerConformance):
    @pytest.fixture(params=SQL)
    def handles(
        self, request: pytest.FixtureRequest, sql_url: Callable[[str], str], timer_name: str
    ) -> Callable[[], Timer]:
        """Open a timer of this test's own in each database."""
        return lambda: open_timer(f"apscheduler+{sql_url(request.param)}", name=timer_name)


def test_model_on_redis(redis_server: RedisServer, timer_name: str) -> None:
    """Any sequence of calls on Redis leaves the states that a plain dictionary has."""
    run_model(f"apscheduler+{redis_server.url}", timer_name)


@pytest.mark.parametrize("mechanism", SQL)
def test_model_on_sql(mechanism: str, sql_url: Callable[[str], str], timer_name: str) -> None:
    """Any sequence of calls on a database leaves the states that a plain dictionary has."""
    run_model(f"apscheduler+{sql_url(mechanism)}", timer_name)


def run_model(url: str, name: str) -> None:
    """Compare the timer with the model, each time under another timer name."""
    names = count()
    machine = timer_machine(lambda: open_timer(url, name=f"{name}-{next(names)}"))
    run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
