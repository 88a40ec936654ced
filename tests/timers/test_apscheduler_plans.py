"""An APScheduler timer in SQL reads as many jobs as one claim takes, however many are due at the same instant."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from lapse import Deadline, open_timer
from lapse.testing.conformance import LONG, ago, ahead
from lapse.testing.servers import PostgresServer
from tests.timers.reads import rows_read_by_plan

BURST = 3_000
ASKED = 10


@pytest.fixture
def sent() -> Iterator[list[tuple[str, Any]]]:
    """Return the queries for due jobs that were sent so far, with their parameters."""
    queries: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "next_run_time <=" in statement and "pending" in statement and "LIMIT" in statement:
            queries.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield queries
    event.remove(Engine, "before_cursor_execute", note)


def test_a_claim_in_a_burst_reads_what_it_takes(
    postgres: PostgresServer, timer_name: str, sent: list[tuple[str, Any]]
) -> None:
    """Jobs of one instant were sorted by their ids as well, so each claim read all that were due at this instant."""
    instant = ago(5)
    with open_timer(f"apscheduler+{postgres.url}", name=timer_name) as timer:
        timer.arm([Deadline(f"far{number}", ahead(LONG)) for number in range(BURST)])
        timer.arm([Deadline(str(number), instant) for number in range(BURST)])
        with psycopg.connect(postgres.url, prepare_threshold=None) as other:
            other.execute("ANALYZE")
            other.commit()
            assert len(timer.claim(ASKED, lease=LONG)) == ASKED
            assert sent
            for statement, parameters in sent:
                assert rows_read_by_plan(other, statement, parameters) <= 2 * ASKED, statement
