"""The timers in PostgreSQL, MySQL and SQLite keep the contract, alone and inside the order's own transaction."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lapse import Timer, open_timer
from lapse.testing.conformance import TimerConformance
from lapse.testing.model import timer_machine
from lapse.testing.servers import MariaDbServer, PostgresServer
from tests.timers.databases import DATABASES, NEEDS_MARIADB


class TestPostgres(TimerConformance):
    @pytest.fixture
    def handles(self, postgres: PostgresServer, timer_name: str) -> Callable[[], Timer]:
        """Open a timer of this test's own on the server."""
        return lambda: open_timer(postgres.url, name=timer_name)


@NEEDS_MARIADB
class TestMysql(TimerConformance):
    @pytest.fixture
    def handles(self, mariadb: MariaDbServer, timer_name: str) -> Callable[[], Timer]:
        """Open a timer of this test's own on the server."""
        return lambda: open_timer(mariadb.url, name=timer_name)


class TestSqlite(TimerConformance):
    @pytest.fixture
    def handles(self, tmp_path: Path, timer_name: str) -> Callable[[], Timer]:
        """Open a timer in a file of this test's own."""
        return lambda: open_timer(f"sqlite:///{tmp_path}/deadlines.db", name=timer_name)


@pytest.mark.parametrize("mechanism", DATABASES)
@pytest.mark.parametrize("examples", [10, pytest.param(40, marks=pytest.mark.long)])
def test_model(mechanism: str, examples: int, sql_url: Callable[[str], str], timer_name: str) -> None:
    """Any sequence of calls leaves the same states as in a plain dictionary."""
    names, url = count(), sql_url(mechanism)
    machine = timer_machine(lambda: open_timer(url, name=f"{timer_name}-{next(names)}"))
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))
