"""The management commands; the worker in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import NoReturn

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from lapse.engine.timer import Timer
from tests.django.adopter.lapsing import AdopterOrders
from tests.django.adopter.models import Order
from tests.django.adopter.placing import NOT_YET, begin_to_pay, place, status, stock
from tests.django.adopter.threads import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def call(*words: str) -> str:
    """Run a command here and return what it wrote."""
    said = StringIO()
    call_command(*words, stdout=said)
    return said.getvalue()


@contextmanager
def worker(timer: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker and wait for its line; at the end, kill it if it still runs."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.django.adopter.settings",
        "LAPSE_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "LAPSE_TEST_TIMER": timer,
    }
    command = [sys.executable, "-m", "django", "lapse_worker", *words]
    root = Path(__file__).parents[2]
    started = subprocess.Popen(
        command, env=environment, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with started as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("lapsing orders by ")
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("timer", "number"),
    [
        ("memory://", signal.SIGTERM),
        ("none", signal.SIGINT),
        pytest.param("memory://", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("none", signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_the_worker_lapses_on_time_and_stops_on_a_signal(timer: str, number: signal.Signals) -> None:
    """Overdue orders at once, later ones at their time, never early; then it ends in good order and writes no more.

    The timer in memory is the worker's own, so it knows these orders only by arming them again at its start.
    """
    (overdue,) = place()
    with worker(timer) as process:
        wait_until(lambda: status(overdue) == "cancelled")
        (soon,) = place(due=timedelta(milliseconds=500))
        (later,) = place(due=NOT_YET)
        if timer == "none":
            wait_until(lambda: status(soon) == "cancelled")
            order = Order.objects.get(pk=soon.pk)
            assert order.cancelled_at is not None
            assert order.pay_by is not None
            assert order.cancelled_at >= order.pay_by
        process.send_signal(number)
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
        assert "Traceback" not in said
    assert (status(later), stock(overdue)) == ("awaiting", 1)


def test_a_worker_that_was_killed_leaves_nothing_behind() -> None:
    """Another one goes on; every order lapses once."""
    placed = place(300, due=timedelta(milliseconds=300))
    with worker("none", "--batch", "7", "--sweep-every", "0.1") as process:
        wait_until(lambda: Order.objects.filter(status="cancelled").exists())
        process.kill()
    with worker("none", "--batch", "7", "--sweep-every", "0.1"):
        wait_until(lambda: not Order.objects.exclude(status="cancelled").exists())
    assert stock(placed[0]) == 300


def test_the_worker_waits_for_a_timer_that_is_away() -> None:
    """Meanwhile the sweep works, and a signal stops the worker."""
    (order,) = place()
    with worker("redis://127.0.0.1:1/0", "--sweep-every", "0.2") as process:
        wait_until(lambda: status(order) == "cancelled")
        process.terminate()
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said


def test_the_worker_does_not_make_every_library_of_the_shop_log() -> None:
    """Lapse's info lines are on standard error, and the shop's are not: its settings configure no log."""
    code = """
import logging
from lapse.integrations.django.command import log_to_standard_error
log_to_standard_error()
logging.getLogger("oscar").info("a line of a library")
logging.getLogger("oscar").warning("a warning of a library")
logging.getLogger("lapse").info("a line of Lapse")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    first, second = run.stderr.splitlines()
    assert first == "a warning of a library"
    assert second.endswith(" INFO a line of Lapse")


@pytest.mark.usefixtures("orders")
def test_numbers_that_make_no_sense_are_refused() -> None:
    """Nothing is started with them."""
    with pytest.raises(CommandError, match="greater than 0"):
        call("lapse_worker", "--batch", "0")
    with pytest.raises(CommandError, match="greater than 0"):
        call("lapse_sweep", "--batch", "0")


@pytest.mark.usefixtures("orders")
def test_the_sweep_says_how_many_it_lapsed() -> None:
    """It lapses all that is overdue, once."""
    place(7)
    place(2, due=NOT_YET)
    assert call("lapse_sweep", "--batch", "3") == "7 lapsed\n"
    assert call("lapse_sweep") == "0 lapsed\n"


def test_the_sweep_fails_where_an_order_could_not_be_lapsed(orders: AdopterOrders) -> None:
    """The others lapse all the same."""
    poison, *_ = place(3)

    def fail(rows: Sequence[Order]) -> None:
        if any(row.pk == poison.pk for row in rows):
            raise RuntimeError("poison")

    orders.watch = fail
    with pytest.raises(CommandError, match=f"1 could not be lapsed; the log says why: {poison.pk}"):
        call("lapse_sweep")
    assert Order.objects.filter(status="cancelled").count() == 2


def test_a_dry_run_shows_what_would_lapse_and_changes_nothing(orders: AdopterOrders) -> None:
    """It pages through all that is overdue, names the first orders, and calls no hook and no gateway."""
    placed = place(12)
    place(2, due=NOT_YET)
    begin_to_pay(placed[0])
    orders.watch = _must_not_be_called
    oldest, newest = (f"{order.pay_by:%Y-%m-%d %H:%M:%S} UTC" for order in (placed[0], placed[-1]))
    with CaptureQueriesContext(connection) as queries:
        said = call("lapse_sweep", "--dry-run", "--batch", "5")
    assert said.splitlines() == [
        "12 would lapse, of 14 unpaid",
        f"oldest deadline: {oldest}",
        f"newest deadline: {newest}",
        f"first keys: {', '.join(str(order.pk) for order in placed[:10])}, …",
        "not asked: the gateways, which may report orders of these as paid",
    ]
    assert all(query["sql"].startswith("SELECT") and "FOR UPDATE" not in query["sql"] for query in queries)
    assert set(Order.objects.values_list("status", flat=True)) == {"awaiting"}


def test_a_dry_run_says_that_it_does_not_ask_the_shops_rule(
    orders: AdopterOrders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`postpone` may keep an order that the dry run counts; with nothing overdue there is nothing to say."""
    monkeypatch.setattr(type(orders), "postpone", _must_not_be_called)
    assert call("lapse_sweep", "--dry-run") == "0 would lapse, of 0 unpaid\n"
    place()
    assert "not asked: postpone(), which may keep orders of these" in call("lapse_sweep", "--dry-run")


def _must_not_be_called(*_: object) -> NoReturn:
    raise AssertionError("a dry run calls no hook")


def test_all_unpaid_orders_are_armed_again(memory: Timer) -> None:
    """Running it again changes nothing."""
    place(4, due=NOT_YET)
    assert call("lapse_arm") == "4 armed\n"
    assert call("lapse_arm", "--only-unknown") == "4 armed\n"
    assert memory.stats().pending == 4


@pytest.mark.usefixtures("orders")
def test_without_a_timer_there_is_nothing_to_arm(settings: Settings) -> None:
    """The message says that the sweep does without."""
    settings.LAPSE_TIMER = None
    with pytest.raises(CommandError, match="needs no arming"):
        call("lapse_arm")
