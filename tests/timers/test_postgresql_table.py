"""What becomes of the table of the timer in PostgreSQL: an earlier layout, dead rows, rows that others have changed."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from lapse import Deadline, open_timer
from lapse.testing.conformance import LONG, ago, ahead, keys_of, wait_until
from lapse.testing.servers import PostgresServer
from lapse.timers.sql import postgresql
from lapse.timers.sql.batches import claim_parts
from lapse.timers.sql.statements import statements
from lapse.timers.sql.timer import SqlTimer

EARLIER = """
CREATE TABLE lapse_deadline (
    timer text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    due bigint NOT NULL,
    visible bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    token bigint NOT NULL DEFAULT 0,
    leased_until bigint,
    buried_at bigint,
    reason text,
    PRIMARY KEY (timer, key)
);
CREATE INDEX lapse_deadline_visible ON lapse_deadline (timer, visible, key) WHERE buried_at IS NULL;
CREATE INDEX lapse_deadline_leased ON lapse_deadline (timer, leased_until) WHERE leased_until IS NOT NULL;
CREATE INDEX lapse_deadline_buried ON lapse_deadline (timer, buried_at) WHERE buried_at IS NOT NULL;
CREATE SEQUENCE lapse_deadline_token;
"""


@pytest.fixture
def url(postgres: PostgresServer, timer_name: str) -> Iterator[str]:
    """Return the URL of a new database, whose table other tests do not use."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE table_{timer_name}".encode())
        yield postgres.url_of(f"table_{timer_name}")
        admin.execute(f"DROP DATABASE table_{timer_name} WITH (FORCE)".encode())


def unfit(timer: SqlTimer) -> list[str]:
    """Return what the check calls unfit, but for the fast settings of tests."""
    return [finding.text for finding in timer.check() if not finding.fit and "fsync" not in finding.text]


def test_a_table_of_an_earlier_version_works_and_can_be_converted(url: str) -> None:
    """A shop upgrades. Its table works on, and the check has the lines that convert it, which keep its deadlines."""
    with psycopg.connect(url, autocommit=True) as owner, open_timer(url, name="orders") as timer:
        assert isinstance(timer, SqlTimer)
        owner.execute(EARLIER.encode())
        timer.arm([Deadline("1", ago(5)), Deadline("far", ahead(LONG))])
        (finding,) = unfit(timer)
        assert finding == postgresql.EARLIER_TABLE
        lines = finding.partition(": ")[2].rpartition("; ")[0]
        owner.execute(lines.encode())
        for statement in timer.schema():
            owner.execute(statement.encode())
        assert unfit(timer) == []
        claims = timer.claim(lease=LONG)
        assert keys_of(claims) == ["1"]
        assert timer.settle(claims) == 1
        assert timer.stats().pending == 1


def test_dead_rows_that_make_claims_late_are_reported(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump was open for hours, so each claim passed over all rows deleted since, and no check said so."""
    monkeypatch.setattr(postgresql, "MOST_DEAD", 100)
    with open_timer(url, name="orders") as timer:
        assert isinstance(timer, SqlTimer)
        timer.arm([Deadline(str(number), ago(5)) for number in range(200)])
        assert unfit(timer) == []
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("ALTER TABLE lapse_deadline SET (autovacuum_enabled = off)")
            owner.execute("DELETE FROM lapse_deadline")
        wait_until(lambda: any("200 dead rows make claims late" in text for text in unfit(timer)))
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("VACUUM lapse_deadline")
        wait_until(lambda: unfit(timer) == [])


def test_a_settlement_that_waits_for_a_renewal_counts(url: str) -> None:
    """A worker renews in one thread and settles in another. The settlement finds the row that was changed meanwhile."""
    with open_timer(url, name="orders") as timer, psycopg.connect(url) as renewing:
        timer.arm([Deadline("1", ago(5))])
        claims = timer.claim(lease=LONG)
        (items,) = claim_parts(claims)
        (renew,) = statements("postgresql")["renew"]
        renewing.execute(renew.encode(), {"timer": "orders", "items": items, "lease": 600_000})
        settled: list[int] = []
        settling = threading.Thread(target=lambda: settled.append(timer.settle(claims)))
        settling.start()
        waiting = b"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%DELETE%'"
        with psycopg.connect(url, autocommit=True) as other:
            wait_until(lambda: other.execute(waiting).fetchone() != (0,))
        renewing.commit()
        settling.join()
        assert settled == [1]
