"""What an operator has to fix is one line and an exit code, in each of the three commands."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from lapse import LapseError, MissingLibrary, TimerRefused, TimerUnavailable
from lapse.integrations.django import timer_setting
from lapse.integrations.django.management.commands import lapse_arm
from lapse.orders import arm_unpaid
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.placing import NOT_YET, place

pytestmark = pytest.mark.django_db(transaction=True)
COMMANDS = ["lapse_worker", "lapse_arm", "lapse_sweep"]


@pytest.fixture
def settings_of_a_shop(settings: Settings, orders: AdopterOrders) -> Settings:
    """Have orders and a timer, in memory."""
    del orders
    settings.LAPSE_TIMER = "memory://"
    return settings


def failure_of(*words: str) -> str:
    """Run the command, which must fail, and return its message."""
    with pytest.raises(CommandError) as raised:
        call_command(*words, stdout=StringIO())
    return str(raised.value)


@pytest.fixture(params=["nowhere", "user"])
def wrong_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Connect to a database that does not exist, or as a user that does not; yield what the message must name."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict["NAME" if request.param == "nowhere" else "USER"] = "wrong_name"
    yield "wrong_name"
    connection.close()
    connection.settings_dict.clear()
    connection.settings_dict.update(before)


@pytest.mark.usefixtures("settings_of_a_shop")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_lets_no_one_in(command: str, wrong_database: str) -> None:
    """One line with the server's own words."""
    message = failure_of(command)
    assert message.startswith("the database is unavailable: ")
    assert f'"{wrong_database}" does not exist' in message
    assert "\n" not in message


@pytest.mark.usefixtures("settings_of_a_shop")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_was_not_migrated(command: str) -> None:
    """The missing table is named."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE adopter_order RENAME TO elsewhere")
    try:
        message = failure_of(command)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO adopter_order")
    assert message.startswith('the database refused: relation "adopter_order" does not exist; run manage.py migrate')
    assert "\n" not in message


@pytest.mark.usefixtures("settings_of_a_shop")
@pytest.mark.parametrize("command", ["lapse_worker", "lapse_arm"])
@pytest.mark.parametrize("error", [TimerRefused("wrong password"), MissingLibrary("redis://", "redis")])
def test_a_timer_that_cannot_be_opened(command: str, error: LapseError, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message is the line."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(timer_setting, "open_timer", refuse)
    assert failure_of(command) == str(error)


@pytest.mark.parametrize("orders_armed", [0, 2])
def test_a_timer_that_fails_while_orders_are_armed(
    orders: AdopterOrders, settings_of_a_shop: Settings, monkeypatch: pytest.MonkeyPatch, orders_armed: int
) -> None:
    """The line says how many were armed, and to run it again."""
    del settings_of_a_shop
    place(3, due=NOT_YET)
    memory = timer_setting.timer_named(orders.name)
    assert memory is not None
    monkeypatch.setattr(lapse_arm, "arm_unpaid", partial(arm_unpaid, batch=1))
    genuine, calls = memory.arm, iter(range(10))

    def fail_later(*given: object, **named: object) -> None:
        if next(calls) >= orders_armed:
            raise TimerUnavailable("no answer")
        genuine(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(memory, "arm", fail_later)
    message = failure_of("lapse_arm")
    assert message == ("no answer" if not orders_armed else "2 armed; run it again, because then: no answer")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lapse_worker", "--batch", "0"), "--batch: must be greater than 0; got 0"),
        (("lapse_worker", "--batch", "many"), "--batch: must be a whole number; got 'many'"),
        (("lapse_worker", "--lease", "-1"), "--lease: must be greater than 0"),
        (("lapse_worker", "--lease", "nan"), "--lease: must be greater than 0"),
        (("lapse_worker", "--sweep-every", "0"), "--sweep-every: must be greater than 0"),
        (("lapse_worker", "--max-attempts", "-3"), "--max-attempts: must be greater than 0"),
        (("lapse_worker", "--drain", "inf"), "--drain: must be greater than 0 and at most 86,400"),
        (("lapse_worker", "--drain", "soon"), "--drain: must be a number of seconds; got 'soon'"),
        (("lapse_sweep", "--batch", "-5"), "--batch: must be greater than 0; got -5"),
    ],
)
@pytest.mark.usefixtures("settings_of_a_shop")
def test_a_number_that_makes_no_sense(words: tuple[str, ...], message: str) -> None:
    """The message names the option."""
    assert message in failure_of(*words)


def test_the_process_ends_with_1_and_one_line() -> None:
    """As a supervisor sees it: no traceback."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.django.adopter.settings",
        "LAPSE_TEST_DATABASE": "nowhere",
        "LAPSE_TEST_TIMER": "none",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "django", "lapse_worker"],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("CommandError: the database is unavailable: ")
    assert ended.stderr.count("\n") == 1
