"""`lapse schema`: its SQL makes the table for a timer that may not, and no server is asked for it."""

import sqlite3
from pathlib import Path

import psycopg
import pytest

from lapse import Deadline, TimerRefused, open_timer
from lapse.testing.conformance import ago, keys_of
from lapse.testing.servers import PostgresServer
from tests.cli.test_commands import lapse

DATABASE = "schema_shown"


def test_what_it_shows_makes_the_table(postgres: PostgresServer) -> None:
    """A role that may create nothing works with the table that another made from the SQL, once or twice."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {DATABASE}")
        admin.execute("CREATE ROLE reader LOGIN")
    url = postgres.url_of(DATABASE)
    with open_timer(url.replace("postgres@", "reader@"), name="orders") as timer:
        with pytest.raises(TimerRefused, match="permission denied"):
            timer.stats()
        shown = lapse("schema", "postgresql://nobody@127.0.0.1:1/nowhere")
        assert (shown.returncode, shown.stderr) == (0, "")
        with psycopg.connect(url) as owner:
            for _ in range(2):
                owner.execute(shown.stdout.encode())
            owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON lapse_deadline TO reader")
            owner.execute("GRANT USAGE ON lapse_deadline_token TO reader")
        timer.arm([Deadline("1", ago(1))])
        assert keys_of(timer.claim()) == ["1"]


def test_it_makes_the_table_where_told(tmp_path: Path) -> None:
    """With --apply; again, it leaves the rows alone. The SQL for SQLite is good as well."""
    url = f"sqlite:///{tmp_path}/shop.db"
    for _ in range(2):
        done = lapse("schema", url, "--apply")
        assert (done.returncode, done.stdout) == (0, "The table lapse_deadline exists.\n")
        with open_timer(url, name="orders") as timer:
            timer.arm([Deadline("1", ago(1))])
            assert timer.stats().pending == 1
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.executescript(lapse("schema", url).stdout)
        assert other.execute("SELECT count(*) FROM lapse_deadline").fetchone() == (0,)


def test_a_server_that_is_away_and_a_role_without_rights() -> None:
    """To show needs no server, to make one does."""
    done = lapse("schema", "postgresql://nobody@127.0.0.1:1/nowhere", "--apply")
    assert done.returncode == 1
    assert "no answer" in done.stderr


@pytest.mark.parametrize("url", ["redis://localhost:6379/0", "memory://"])
def test_a_timer_without_a_table_says_so(url: str) -> None:
    """There is no table to create, and no server is contacted."""
    done = lapse("schema", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no table" in done.stderr
