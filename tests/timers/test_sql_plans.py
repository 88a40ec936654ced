"""Each statement of an SQL timer reads what is due or asked for and no more, with any statistics of the table."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pymysql
import pytest

from lapse import Claim, Deadline, open_timer
from lapse.engine.timer import FRESH_SHARE
from lapse.testing.conformance import LONG, ago, ahead
from lapse.testing.servers import MariaDbServer, PostgresServer
from lapse.timers.sql.batches import claim_parts, deadline_parts, key_parts
from lapse.timers.sql.database import Parameters
from lapse.timers.sql.mysql_address import settings_of
from lapse.timers.sql.timer import SqlTimer
from tests.timers.databases import DATABASES
from tests.timers.reads import Reader, reader_of

DUE = 2_000
HELD = 1_000
"""How many deadlines are claimed, and how many are buried."""

ASKED = 10
SLACK = 40
"""Rows that a statement may read in addition: the newest beside the oldest, one row more than the limit, a token."""

READS_OF_A_ROW = 6
"""How often a statement may read one row: in an index, to lock it, to change it, to return it."""

NEVER, WHEN_EMPTY, WHEN_FULL = "never analysed", "analysed when it was empty", "analysed when it was full"
PENDING = {NEVER: 20_000, WHEN_EMPTY: 20_000, WHEN_FULL: 100_000}
"""When the table was analysed → how many deadlines are pending."""


@dataclass(frozen=True)
class Filled:
    """A table with deadlines in every state, as its planner does or does not know."""

    timer: SqlTimer
    reader: Reader
    held: list[Claim]


@pytest.fixture(params=[*(pytest.param(one, marks=pytest.mark.long) for one in (NEVER, WHEN_EMPTY)), WHEN_FULL])
def statistics(request: pytest.FixtureRequest) -> str:
    """Return when the table was analysed."""
    return str(request.param)


@pytest.fixture(params=DATABASES)
def own_url(request: pytest.FixtureRequest, tmp_path: Path, timer_name: str) -> Iterator[str]:
    """Return the URL of a new database."""
    name = f"plans_{timer_name}"
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/deadlines.db"
    elif request.param == "mysql":
        mariadb: MariaDbServer = request.getfixturevalue("mariadb")
        with pymysql.connect(**settings_of(mariadb.url)) as admin, admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            yield mariadb.url_of(name)
            cursor.execute(f"DROP DATABASE {name}")
    else:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        with psycopg.connect(postgres.url, autocommit=True) as owner:
            owner.execute(f"CREATE DATABASE {name}".encode())
            yield postgres.url_of(name)
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def filled(own_url: str, statistics: str) -> Iterator[Filled]:
    """Fill a table, and let the database analyse it at that moment."""
    with open_timer(own_url, name="orders") as timer:
        assert isinstance(timer, SqlTimer)
        timer.generation()  # one row, so that the statistics of the empty table say that each timer has one
        with reader_of(own_url) as reader:
            if statistics == WHEN_EMPTY:
                reader.analyse()
            held = _fill(timer, PENDING[statistics])
            if statistics == WHEN_FULL:
                reader.analyse()
            yield Filled(timer, reader, held)


def _fill(timer: SqlTimer, pending: int) -> list[Claim]:
    """Arm deadlines, of which some are due, some are claimed and some are buried. Return those that are claimed."""
    timer.arm([Deadline(f"buried{number}", ago(60)) for number in range(HELD)])
    timer.bury(timer.claim(HELD, lease=LONG), reason="any")
    timer.arm([Deadline(f"held{number}", ago(60)) for number in range(HELD)])
    held = timer.claim(HELD, lease=LONG)
    timer.arm([Deadline(f"far{number}", ahead(LONG)) for number in range(pending - DUE)])
    timer.arm([Deadline(f"due{number}", ago(60)) for number in range(DUE)])
    return held


def test_c19_no_statement_reads_all_that_is_pending(filled: Filled) -> None:
    """Once autovacuum had analysed a table of 1,000,000, each claim read all pending rows, and was 433 ms late."""
    read = {name: filled.reader.rows_read(name, values) for name, values in statements_of(filled).items()}
    assert {name: rows for name, rows in read.items() if rows > ASKED * READS_OF_A_ROW + SLACK} == {}


def statements_of(filled: Filled) -> dict[str, Parameters]:
    """Return the parameters of every statement that a worker or a sale runs, for ASKED deadlines."""
    held = next(claim_parts(filled.held[:ASKED]))
    far = [f"far{number}" for number in range(ASKED)]
    again = next(deadline_parts([Deadline(key, ahead(LONG)) for key in [*far[::2], *map("new{}".format, far[::2])]]))
    values: dict[str, dict[str, str | int]] = {
        "look": {},
        "claim": {"limit": ASKED, "young": ASKED // FRESH_SHARE, "lease": 600_000, "generation": "any"},
        "renew": {"items": held, "lease": 600_000},
        "settle": {"items": held},
        "release": {"items": held, "delay": 0, "forgiven": 0},
        "bury": {"items": held, "reason": "any"},
        "arm": {"items": again},
        "restore": {"items": again},
        "disarm": {"items": next(key_parts(far))},
        "revive": {"items": next(key_parts(f"buried{number}" for number in range(ASKED)))},
        "buried": {"limit": ASKED},
        "generation": {"file": "any"},
    }
    return {name: {"timer": filled.timer.name, **own} for name, own in values.items()}
