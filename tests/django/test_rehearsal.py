"""The rehearsal is silent for a right set-up, sends every statement, changes nothing, and finds each wrong set-up."""

import ast
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, run_checks
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Func, Q, TextField, Value
from django.db.models.lookups import Exact
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from psycopg import IsolationLevel
from pytest_django import DjangoDbBlocker, Settings

from lapse.integrations.django import Since, UnpaidOrders, unpaid_orders
from lapse.integrations.django.checks import connection as connection_checks
from lapse.integrations.django.checks.rehearsal import check_rehearsal, rehearse
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.databases import ALIAS, WITH_ROW_LOCKS, chosen
from tests.django.wirings.models import Admission, Bill, BillLine, VoucherBill

NO_SUCH = Func(Value("x"), function="NO_SUCH_FUNCTION", output_field=TextField())


class Bills(UnpaidOrders[Bill]):
    """A right set-up."""

    model = Bill
    unpaid = Q(status="awaiting")
    deadline: ClassVar[str | Since] = "pay_by"
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled"}

    def on_lapse(self, orders: Any) -> None:
        """Keep no stock."""


class Vouchers(UnpaidOrders[VoucherBill]):
    """Reads and writes a table of its own, the table of its parent, and reads lines."""

    model = VoucherBill
    unpaid = Q(status__in=["awaiting", "closing"], used=False, lines__status="pending")
    deadline = "pay_by"
    closing: ClassVar[dict[str, object]] = {"status": "closing"}
    lapsed: ClassVar[dict[str, object]] = {"status": "cancelled", "used": True}
    lock = ("lines",)

    def on_lapse(self, orders: Any) -> None:
        """Keep no stock."""


class Tickets(UnpaidOrders[Admission]):
    """Has a primary key of two columns, and another field as its key."""

    model = Admission
    unpaid = Q(status="held")
    deadline = "held_until"
    key = "code"
    lapsed: ClassVar[dict[str, object]] = {"status": "free"}

    def on_lapse(self, orders: Any) -> None:
        """Keep no stock."""


class Absence(Bills):
    """Is unpaid while a row is absent."""

    unpaid = Q(status="awaiting", payments__isnull=True)
    writers_lock = "self"


class Placed(Bills):
    """Has no column for the deadline."""

    deadline: ClassVar[str | Since] = Since("placed_at", minutes=30)


class NoSuchFunction(Bills):
    """Writes what the database cannot compute."""

    lapsed: ClassVar[dict[str, object]] = {"status": NO_SUCH}


class NoSuchCondition(Bills):
    """Asks what the database cannot answer."""

    unpaid = Q(Exact(NO_SUCH, Value("x")))


class SharedKey(Bills):
    """Names bills by what many of them share."""

    key = "status"


def ids(found: list[CheckMessage]) -> list[str | None]:
    """Name the checks."""
    return [message.id for message in found]


def only(found: list[CheckMessage]) -> tuple[str | None, str, str]:
    """Return the parts of the only message, which says what to do."""
    (message,) = found
    assert message.hint
    return message.id, str(message.msg), str(message.hint)


def reopen(**settings: Any) -> None:
    """Open the connection again, with these settings; OPTIONS are added to those that it has."""
    connections[ALIAS].close()
    options = settings.pop("OPTIONS", {})
    connections[ALIAS].settings_dict.update(settings)
    connections[ALIAS].settings_dict["OPTIONS"] |= options
    connections[ALIAS].__dict__.pop("timezone", None)
    connections[ALIAS].__dict__.pop("timezone_name", None)


def execute(*statements: str) -> None:
    """Send statements to the chosen database."""
    with connections[ALIAS].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture(params=WITH_ROW_LOCKS[1:])
def on_mariadb(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Have a MariaDB."""
    with django_db_blocker.unblock(), chosen(request.param, request, tmp_path):
        yield


@pytest.fixture
def on_postgresql(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Have a PostgreSQL."""
    with django_db_blocker.unblock(), chosen("postgresql", request, tmp_path):
        yield


@pytest.fixture
def on_sqlite(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Have a file of SQLite."""
    with django_db_blocker.unblock(), chosen("sqlite", request, tmp_path):
        yield


@pytest.mark.usefixtures("database")
def test_a_right_set_up_is_silent() -> None:
    """Without a row, and with rows."""
    right: list[type[UnpaidOrders[Any]]] = [Bills, Vouchers, Tickets, Absence, Placed]
    assert [rehearse(orders()) for orders in right] == [[], [], [], [], []]
    now = timezone.now()
    BillLine.objects.create(bill=VoucherBill.objects.create(pay_by=now))
    Bill.objects.bulk_create(Bill(pay_by=now) for _ in range(3))
    Admission.objects.create(event=1, number=2, code="1-2", held_until=now)
    assert [rehearse(orders()) for orders in right] == [[], [], [], [], []]


def test_every_statement_is_sent_and_nothing_is_changed(database: str) -> None:
    """The order's own table, its parent's and the lines are locked; both tables are written."""
    VoucherBill.objects.create(pay_by=timezone.now()).lines.create()
    before = [list(model.objects.values()) for model in (VoucherBill, Bill)]
    with CaptureQueriesContext(connections[ALIAS]) as captured:
        assert rehearse(Vouchers()) == []
    assert [list(model.objects.values()) for model in (VoucherBill, Bill)] == before
    sent = [re.sub('["`]', "", query["sql"]) for query in captured]
    no_rows = [statement for statement in sent if re.search(r"WHERE .*\b1 = 0|WHERE \(?0 = 1", statement)]
    updates = [statement for statement in no_rows if statement.startswith("UPDATE")]
    assert any("UPDATE wirings_bill SET status = 'cancelled'" in statement for statement in updates)
    assert any("UPDATE wirings_bill SET status = 'closing'" in statement for statement in updates)
    assert any("UPDATE wirings_voucherbill SET used = " in statement for statement in updates)
    locks = [statement for statement in no_rows if " FOR UPDATE" in statement]
    for table in ("bill", "voucherbill", "billline") if database != "sqlite" else ():
        of_table = [statement for statement in locks if f"FROM wirings_{table} WHERE" in statement]
        assert {statement.endswith("SKIP LOCKED") for statement in of_table} == {True, False}
    conditions = [statement for statement in no_rows if "status = 'pending'" in statement]
    assert any("pay_by" in statement.partition("WHERE")[2] for statement in conditions)  # due
    assert any("DISTINCT" in statement and "LIMIT 1" in statement for statement in conditions)  # overdue()
    assert any("DISTINCT" in statement and "LIMIT" not in statement for statement in conditions)  # deadlines()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("table", ["wirings_billline", "wirings_bill"])
def test_a_table_that_is_missing(table: str) -> None:
    """The message has the database's own words, once, and the hint names the command."""
    with connections[ALIAS].schema_editor() as editor:
        editor.alter_db_table(Bill, table, "elsewhere")
    number, message, hint = only(rehearse(Vouchers() if table == "wirings_billline" else Bills()))
    assert number == "lapse.E033"
    assert message.startswith("The database refuses the statement to lock")
    assert table in message
    assert "manage.py migrate" in hint


@pytest.mark.usefixtures("database")
def test_a_value_that_the_database_cannot_compute() -> None:
    """An expression is sent, because no static check can know."""
    number, message, hint = only(rehearse(NoSuchFunction()))
    assert (number, "`lapsed`" in message, "no_such_function" in message.lower()) == ("lapse.E030", True, True)
    assert "Correct the values" in hint


@pytest.mark.usefixtures("database")
def test_a_condition_that_the_database_cannot_answer() -> None:
    """Wherever the condition is part of a statement; reported once."""
    number, message, hint = only(rehearse(NoSuchCondition()))
    assert (number, "no_such_function" in message.lower()) == ("lapse.E030", True)
    assert "Change `unpaid`" in hint


def test_a_user_who_may_not_write(locking: str) -> None:
    """The locks need UPDATE too."""
    if locking == "postgresql":
        execute("CREATE ROLE reader", "GRANT SELECT ON wirings_bill TO reader", "SET ROLE reader")
    else:
        execute("CREATE USER reader@'127.0.0.1'", "GRANT SELECT ON wirings.* TO reader@'127.0.0.1'")
        reopen(USER="reader")
    try:
        found = rehearse(Bills())
    finally:
        if locking == "postgresql":
            execute("RESET ROLE", "DROP OWNED BY reader", "DROP ROLE reader")
        else:
            reopen(USER="root")
            execute("DROP USER reader@'127.0.0.1'")
    assert set(ids(found)) == {"lapse.E030"}
    assert all("Grant SELECT and UPDATE" in str(message.hint) for message in found)


def test_a_database_that_can_only_be_read(database: str) -> None:
    """As a replica."""
    execute(
        {
            "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "mariadb": "SET SESSION TRANSACTION READ ONLY",
            "sqlite": "PRAGMA query_only = ON",
        }[database]
    )
    found = rehearse(Bills())
    assert set(ids(found)) == {"lapse.E030"}
    assert all("which is no replica" in str(message.hint) for message in found)


def test_a_database_that_is_busy(database: str) -> None:
    """A warning, because it will pass: a worker starts all the same."""
    timeout = {"postgresql": "SET lock_timeout = '50ms'", "mariadb": "SET lock_wait_timeout = 1"}
    lock = {
        "postgresql": ["BEGIN", "LOCK TABLE wirings_bill"],
        "mariadb": ["LOCK TABLES wirings_bill WRITE"],
        "sqlite": ["BEGIN EXCLUSIVE"],
    }
    reopen(OPTIONS={"timeout": 0.05} if database == "sqlite" else {})
    connections[ALIAS].ensure_connection()
    if database != "sqlite":
        execute(timeout[database])
    other = connections[ALIAS].copy()
    with other.cursor() as cursor:
        for statement in lock[database]:
            cursor.execute(statement)
    try:
        found = rehearse(Bills())
    finally:
        other.close()
    number, message, hint = only(found)
    assert (number, "too busy" in message, "once more" in hint) == ("lapse.W030", True, True)
    assert rehearse(Bills()) == []


@pytest.mark.usefixtures("database")
def test_a_key_that_does_not_lead_back() -> None:
    """Two bills share it."""
    Bill.objects.create()
    assert rehearse(SharedKey()) == []
    Bill.objects.create()
    number, message, hint = only(rehearse(SharedKey()))
    assert (number, "'awaiting'" in message, "Name a unique field in `key`" in hint) == ("lapse.E031", True, True)


@pytest.mark.usefixtures("database")
def test_clocks_that_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's clock decides; the shop writes deadlines by its own."""

    class Machine:
        behind = timedelta(0)

        @classmethod
        def now(cls) -> datetime:
            return datetime.now(UTC) - cls.behind

    monkeypatch.setattr(connection_checks, "SYSTEM_CLOCK", Machine)
    for seconds, number, words in [
        (5, "lapse.W032", "s ahead of"),
        (-5, "lapse.W032", "s behind"),
        (8 * 3600, "lapse.E032", "s ahead of"),
        (-300, "lapse.E032", "s behind"),
    ]:
        Machine.behind = timedelta(seconds=seconds)
        found, message, hint = only(rehearse(Bills()))
        assert (found, words in message, "date -u" in hint) == (number, True, True)
    Machine.behind = timedelta(milliseconds=300)
    assert rehearse(Bills()) == []


@pytest.mark.usefixtures("on_mariadb")
@pytest.mark.parametrize(("zone", "offset"), [(None, "+00:00"), ("Asia/Shanghai", "+08:00"), ("Etc/GMT+5", "-05:00")])
def test_a_session_whose_now_is_another_time(zone: str | None, offset: str) -> None:
    """The hint's init_command makes the warning go away."""
    reopen(TIME_ZONE=zone, OPTIONS={"init_command": "SET time_zone = '+03:30'"})
    number, message, hint = only(rehearse(Bills()))
    assert (number, "Now()" in message) == ("lapse.W033", True)
    line = re.search(r'"init_command": "([^"]+)"', hint)
    assert line is not None
    assert line[1] == f"SET time_zone = '{offset}'"
    reopen(OPTIONS={"init_command": line[1]})
    assert rehearse(Bills()) == []


@pytest.mark.usefixtures("on_sqlite")
def test_local_times_on_sqlite() -> None:
    """Django's Now() is UTC there, also if the columns store local times."""
    reopen(TIME_ZONE="Asia/Shanghai")
    number, message, hint = only(rehearse(Bills()))
    assert (number, "28,800.0 s behind" in message, "timezone.now()" in hint) == ("lapse.W033", True, True)


def test_a_stricter_isolation_level_matters_for_absent_rows_only(locking: str) -> None:
    """A warning, because Lapse's own transactions are READ COMMITTED."""
    strict = {"postgresql": IsolationLevel.REPEATABLE_READ, "mariadb": "repeatable read"}[locking]
    reopen(OPTIONS={"isolation_level": strict})
    assert rehearse(Bills()) == []
    number, message, hint = only(rehearse(Absence()))
    assert (number, "REPEATABLE READ" in message, "read committed" in hint) == ("lapse.W034", True, True)


@pytest.mark.usefixtures("on_sqlite")
def test_how_sqlites_transactions_begin() -> None:
    """The line to add."""
    reopen(OPTIONS={"transaction_mode": "DEFERRED"})
    number, message, hint = only(rehearse(Bills()))
    assert (number, "DEFERRED" in message, '"transaction_mode": "IMMEDIATE"' in hint) == ("lapse.W035", True, True)
    del connections[ALIAS].settings_dict["OPTIONS"]["transaction_mode"]
    reopen()
    assert ids(rehearse(Bills())) == ["lapse.W035"]


def test_an_index_that_the_database_lacks(database: str) -> None:
    """The model declares it; a faked migration has left it out. The hint's statement makes it."""
    with connections[ALIAS].cursor() as cursor:
        indexes = connections[ALIAS].introspection.get_constraints(cursor, "wirings_bill")
    (index,) = [name for name, of_index in indexes.items() if of_index["columns"] == ["pay_by"]]
    execute(f"DROP INDEX {index}{' ON wirings_bill' if database == 'mariadb' else ''}")
    number, message, hint = only(rehearse(Bills()))
    assert (number, "the database lacks it" in message) == ("lapse.E003", True)
    execute(hint.rpartition("Then run: ")[2].rstrip(";"))
    assert rehearse(Bills()) == []


@pytest.mark.usefixtures("on_postgresql")
def test_a_table_named_with_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django finds no index of such a table, so the model decides."""
    monkeypatch.setattr(Bill._meta, "db_table", 'public"."wirings_bill')
    assert rehearse(Bills()) == []
    monkeypatch.setattr(Bill._meta.get_field("pay_by"), "db_index", False)
    assert ids(rehearse(Bills())) == ["lapse.E003"]


def test_deadlines_that_no_one_can_read(database: str) -> None:
    """They are counted, and the first are named; those of bills that are paid do not matter."""
    bills = [Bill.objects.create(pay_by=timezone.now()) for _ in range(6)]
    wrong = {
        "postgresql": ["-infinity", "infinity", "20000-01-01 00:00:00+00", "0044-03-15 12:00:00 BC"],
        "mariadb": ["0000-00-00 00:00:00"] * 4,
        "sqlite": ["soon", "", "20000-01-01 00:00:00", "0000-00-00 00:00:00"],
    }[database]
    if database == "mariadb":
        execute("SET SESSION sql_mode = ''")
    for bill, text in zip(bills, wrong, strict=False):
        execute(f"UPDATE wirings_bill SET pay_by = '{text}' WHERE id = {bill.pk}")  # noqa: S608 - of this test
    Bill.objects.filter(pk=bills[3].pk).update(status="paid")
    number, message, hint = only(rehearse(Bills()))
    assert number == "lapse.W036"
    assert message.startswith("3 unpaid orders ")
    assert all(repr(str(bill.pk)) in message for bill in bills[:3])
    assert "'pay_by'" in hint


@pytest.mark.django_db
def test_b7_an_index_by_a_migration_of_the_shops_own(settings: Settings) -> None:
    """The warning's operation, when it is applied, satisfies the rehearsal."""
    settings.LAPSE_ORDERS = "tests.django.adopter.wrong.Foreign"
    User.objects.create_user("buyer")
    number, _, hint = only(check_rehearsal(databases=["default"]))
    assert number == "lapse.W003"
    written = re.search(r"migrations\.RunSQL(\(.+?\))\. Then", hint)
    assert written is not None
    create, drop = ast.literal_eval(written[1])
    with connection.cursor() as cursor:
        cursor.execute(create)
        assert check_rehearsal(databases=["default"]) == []
        cursor.execute(drop)
    assert ids(check_rehearsal(databases=["default"])) == ["lapse.W003"]


@pytest.mark.django_db
def test_the_reference_shop_is_silent() -> None:
    """Its orders, on PostgreSQL."""
    assert type(unpaid_orders()).__module__ == "shop.lapsing"
    assert check_rehearsal(databases=["default"]) == []


@pytest.mark.django_db
@pytest.mark.usefixtures("orders")
def test_migrations_to_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    """`manage.py migrate` runs the check first, so nothing is refused that a migration would bring."""
    monkeypatch.setattr(AdopterOrders, "unpaid", Q(Exact(NO_SUCH, Value("x"))))
    assert ids(check_rehearsal(databases=["default"])) == ["lapse.E030"]
    name = MigrationRecorder.Migration.objects.filter(app="auth").order_by("-pk").values_list("name", flat=True)[0]
    MigrationRecorder(connection).record_unapplied("auth", name)
    number, _, hint = only(check_rehearsal(databases=["default"]))
    assert (number, "manage.py migrate" in hint) == ("lapse.W030", True)


@pytest.mark.django_db
@pytest.mark.usefixtures("orders")
def test_a_table_that_migrate_may_create() -> None:
    """An application without migrations gets its tables by `migrate --run-syncdb`, which runs the check first."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE adopter_order RENAME TO elsewhere")
    number, message, hint = only(check_rehearsal(databases=["default"]))
    assert (number, '"adopter_order" does not exist' in message) == ("lapse.W030", True)
    assert "manage.py migrate" in hint


@pytest.mark.django_db
def test_what_is_not_rehearsed(settings: Settings, orders: AdopterOrders) -> None:
    """Another database, no database, and a class that is wrong without one."""
    del orders
    assert [message for message in run_checks() if (message.id or "").startswith("lapse.")] == []
    assert check_rehearsal(databases=["other"]) == []
    settings.LAPSE_ORDERS = "tests.django.adopter.wrong.TextDeadline"
    assert check_rehearsal(databases=["default"]) == []
    settings.SILENCED_SYSTEM_CHECKS = ["lapse.E001"]
    settings.LAPSE_ORDERS = None
    assert check_rehearsal(databases=["default"]) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("orders")
def test_a_database_that_is_away() -> None:
    """One error, with the driver's words."""
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = "nowhere"
    try:
        number, message, hint = only(check_rehearsal(databases=["default"]))
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before
    assert (number, '"nowhere" does not exist' in message, "DATABASES" in hint) == ("lapse.E030", True, True)


@pytest.fixture
def no_index(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Drop the index of the adopter's orders."""
    del django_db_setup
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX adopter_due")
        yield
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX adopter_due ON adopter_order (pay_by) WHERE status IN ('awaiting', 'closing')")


@pytest.mark.usefixtures("no_index")
@pytest.mark.parametrize(
    "words",
    [["check", "--database", "default"], ["lapse_worker"], pytest.param(["lapse_sweep"], marks=pytest.mark.long)],
    ids=lambda words: words[0],
)
def test_a_process_that_is_refused(words: list[str]) -> None:
    """Exit code 1; a worker prints one line for each error, and starts nothing."""
    ended = subprocess.run(
        [sys.executable, "-m", "django", *words],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.django.adopter.settings",
            "LAPSE_TEST_DATABASE": str(connection.settings_dict["NAME"]),
            "LAPSE_TEST_TIMER": "none",
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert "lapse.E003" in ended.stderr
    assert "CREATE INDEX lapse_pay_by" in ended.stderr
    if words[0] != "check":
        assert ended.stderr.startswith("CommandError: lapse.E003: Order declares an index")
        assert ended.stderr.count("\n") == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("orders")
def test_a_warning_is_logged_and_an_error_can_be_silenced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The command goes on; a shop silences what it knows, as it does with every check of Django's."""

    class Machine:
        ahead = timedelta(seconds=5)

        @classmethod
        def now(cls) -> datetime:
            return datetime.now(UTC) + cls.ahead

    monkeypatch.setattr(connection_checks, "SYSTEM_CLOCK", Machine)
    with caplog.at_level(logging.WARNING, logger="lapse"):
        call_command("lapse_sweep")
    (record,) = caplog.records
    assert record.getMessage().startswith("lapse.W032: The database's clock is ")
    Machine.ahead = timedelta(hours=1)
    with pytest.raises(CommandError, match=r"lapse\.E032: .*date -u"):
        call_command("lapse_sweep")
    settings.SILENCED_SYSTEM_CHECKS = ["lapse.E032"]
    call_command("lapse_sweep")
