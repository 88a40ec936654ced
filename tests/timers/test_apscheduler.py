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

    # A load is long here: all but the store itself is the code that `make test` loads on Redis.

    @pytest.mark.long
    def test_thousands_at_once(self, timer: Timer) -> None:
        """Each of many keys once."""
        super().test_thousands_at_once(timer)

    @pytest.mark.long
    def test_large_batches_of_every_kind(self, timer: Timer) -> None:
        """More keys than fit into one message."""
        super().test_large_batches_of_every_kind(timer)


EXAMPLES = pytest.mark.parametrize("examples", [6, pytest.param(15, marks=pytest.mark.long)])


@EXAMPLES
def test_model_on_redis(examples: int, redis_server: RedisServer, timer_name: str) -> None:
    """Any sequence of calls on Redis leaves the states that a plain dictionary has."""
    run_model(f"apscheduler+{redis_server.url}", timer_name, examples)


@EXAMPLES
@pytest.mark.parametrize("mechanism", SQL)
def test_model_on_sql(mechanism: str, examples: int, sql_url: Callable[[str], str], timer_name: str) -> None:
    """Any sequence of calls on a database leaves the states that a plain dictionary has."""
    run_model(f"apscheduler+{sql_url(mechanism)}", timer_name, examples)


def run_model(url: str, name: str, examples: int) -> None:
    """Compare the timer with the model, each time under another timer name."""
    names = count()
    machine = timer_machine(lambda: open_timer(url, name=f"{name}-{next(names)}"))
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None))
