"""The migration makes the timer's table where the timer is in the migrated database, and nothing elsewhere."""

import logging
from collections.abc import Iterator
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection, connections
from django.db.migrations.recorder import MigrationRecorder
from pytest_django import DjangoDbBlocker, Settings

from lapse import Deadline, open_timer
from lapse.integrations.django import timer
from lapse.testing.conformance import ago, keys_of
from lapse.testing.servers import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """Address the database that is migrated."""
    return postgres.url_of(connection.settings_dict["NAME"])


@pytest.fixture(scope="module", autouse=True)
def without_the_migration(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Take the migration back for these tests, and leave the database with it, as other tests find it."""
    del django_db_setup
    with django_db_blocker.unblock():
        migrate("zero")
    yield
    with django_db_blocker.unblock():
        migrate()
        connections.close_all()


@pytest.fixture(autouse=True)
def before_the_migration(settings: Settings) -> Iterator[None]:
    """Begin and end without it, and without a table."""
    settings.LAPSE_ORDERS = "tests.django.adopter.lapsing.AdopterOrders"
    settings.LAPSE_TIMER = None
    drop()
    yield
    settings.LAPSE_TIMER = None
    if "lapse" in {app for app, _ in MigrationRecorder(connection).applied_migrations()}:
        migrate("zero")
    drop()


def migrate(*words: str) -> None:
    """Migrate this application alone."""
    call_command("migrate", "lapse", *words, verbosity=0)


def drop() -> None:
    """Remove the table, however it came."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS lapse_deadline; DROP SEQUENCE IF EXISTS lapse_deadline_token")


def is_there() -> bool:
    """Whether there is a table."""
    return "lapse_deadline" in connection.introspection.table_names()


def test_it_makes_the_table_and_takes_it_back(settings: Settings, url: str) -> None:
    """The timer then works as if it had made the table itself; backwards, nothing is left."""
    settings.LAPSE_TIMER = url
    migrate()
    assert is_there()
    opened = timer()
    assert opened is not None
    opened.arm([Deadline("1", ago(1))])
    assert keys_of(opened.claim()) == ["1"]
    migrate("zero")
    assert not is_there()
    with connection.cursor() as cursor, pytest.raises(ProgrammingError):
        cursor.execute("SELECT * FROM lapse_deadline_token")
    migrate()
    assert is_there()


def test_a_table_that_is_there_keeps_its_rows(settings: Settings, url: str) -> None:
    """A timer was used before the migration came."""
    with open_timer(url, name="orders") as before:
        before.arm([Deadline("1", ago(1))])
        settings.LAPSE_TIMER = url
        migrate()
        assert before.stats().pending == 1


@pytest.mark.parametrize(
    "elsewhere", [None, "memory://", "redis://localhost:1/0", "sqlite:////tmp/none.db", "postgres"]
)
def test_it_makes_nothing_elsewhere(settings: Settings, postgres: PostgresServer, elsewhere: str | None) -> None:
    """No timer, one that has no table, or one whose table is in another database."""
    settings.LAPSE_TIMER = postgres.url if elsewhere == "postgres" else elsewhere
    migrate()
    assert not is_there()
    migrate("zero")


def test_only_the_migrations_role_may_create(settings: Settings, postgres: PostgresServer, url: str) -> None:
    """The timer's own role can use the table and could not have made it."""
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE teller LOGIN")
    try:
        settings.LAPSE_TIMER = url.replace("postgres@", "teller@")
        migrate()
        with connection.cursor() as cursor:
            cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON lapse_deadline TO teller")
            cursor.execute("GRANT USAGE ON lapse_deadline_token TO teller")
        opened = timer()
        assert opened is not None
        opened.arm([Deadline("1", ago(1))])
        assert keys_of(opened.claim()) == ["1"]
        with connection.cursor() as cursor:
            cursor.execute("DROP OWNED BY teller")
    finally:
        settings.LAPSE_TIMER = None  # closes its connections
        with psycopg.connect(postgres.url, autocommit=True) as admin:
            admin.execute("DROP ROLE teller")


def test_a_timer_that_cannot_be_asked_fails_no_migration(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """It may be on a server that this machine does not reach; the log says that nothing was made."""
    settings.LAPSE_TIMER = "postgresql://nobody@127.0.0.1:1/nowhere"
    with caplog.at_level(logging.WARNING, "lapse"):
        migrate()
    assert "no table for the timer is made" in caplog.text
    assert not is_there()


def test_its_sql_can_be_read(settings: Settings, url: str) -> None:
    """`sqlmigrate` shows what would be done and does nothing."""
    settings.LAPSE_TIMER = url
    shown = StringIO()
    call_command("sqlmigrate", "lapse", "0001", stdout=shown)
    assert "CREATE TABLE IF NOT EXISTS lapse_deadline (" in shown.getvalue()
    assert not is_there()


def test_no_migration_is_missing() -> None:
    """`makemigrations --check` has nothing to add."""
    call_command("makemigrations", "lapse", check=True, dry_run=True, verbosity=0)
